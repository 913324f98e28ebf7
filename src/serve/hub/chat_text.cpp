#include "serve/hub/chat_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "engine/internals.h"
#include "serve/hub/tool_text.h"

namespace runnel::serve {
namespace {

constexpr const char* kStandIn = "Hi";  // for what was said before, of which only its place counts

std::string_view own_source(const Model& model) {
  return model.internals().file.get_string("tokenizer.chat_template", "");
}

bool is_file(const std::string& name) {
  std::error_code ignored;
  return name.find_first_of("./") != name.npos && std::filesystem::is_regular_file(name, ignored);
}

std::string text_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::optional<ChatFormat> choose_format(const Model& model, const std::string& name) {
  if (name == "plain") return std::nullopt;
  try {
    if (is_file(name)) return ChatFormat::detect(text_of_file(name));
    if (!name.empty()) return ChatFormat::named(name);
    if (!own_source(model).empty()) return ChatFormat::detect(own_source(model));
  } catch (const Error&) {  // of no known family
  }
  return std::nullopt;
}

std::optional<ChatTemplate> choose_template(const Model& model, const std::string& name) {
  if (name == "plain") return std::nullopt;
  if (is_file(name)) return ChatTemplate::from_source(model, text_of_file(name));
  if (name.empty() && own_source(model).empty()) return std::nullopt;
  ChatTemplate chosen = ChatTemplate::of(model, name);
  if (!chosen.is_interpreted()) return std::nullopt;
  return chosen;
}

void append(std::vector<TextSegment>& out, std::vector<TextSegment> more) {
  std::move(more.begin(), more.end(), std::back_inserter(out));
}

std::string joined(std::span<const ChatText> text) {
  std::string all;
  for (const ChatText& piece : text) all += piece.text;
  return all;
}

// Behind the first `n` bytes.
std::vector<ChatText> behind(std::span<const ChatText> text, std::size_t n) {
  std::vector<ChatText> rest;
  for (const ChatText& piece : text) {
    const std::size_t skipped = std::min(n, piece.text.size());
    n -= skipped;
    if (skipped < piece.text.size())
      rest.push_back({piece.text.substr(skipped), piece.is_template});
  }
  return rest;
}

// Mistral's templates want ids of nine letters and digits.
std::string short_id(const std::string& id) {
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char byte : id) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211u;
  std::string text;
  for (int i = 0; i < 9; ++i, hash /= kDigits.size()) text += kDigits[hash % kDigits.size()];
  return text;
}

void shorten_ids(Message& message) {
  for (ToolCall& call : message.tool_calls) call.id = short_id(call.id);
  if (!message.tool_call_id.empty()) message.tool_call_id = short_id(message.tool_call_id);
}

bool is_of_assistant(const Message& message) {
  return message.role == "assistant" && message.tool_calls.empty();
}

std::string joined_with_gap(const std::string& a, const std::string& b) {
  return a + (a.empty() || b.empty() ? "" : "\n\n") + b;
}

// The same without tools for the template: in words.
Setting in_words(const Setting& setting) {
  Setting simple = setting;
  simple.system = joined_with_gap(setting.system, tools_in_words(setting.tools));
  simple.tools.clear();
  return simple;
}

std::vector<Message> system_message(const Setting& setting) {
  if (setting.system.empty()) return {};
  return {{.role = "system", .content = setting.system}};
}

ChatOptions options_of(const Setting& setting, bool asks) {
  return {.tools = setting.tools,
          .add_generation_prompt = asks,
          .enable_thinking = setting.thinking,
          .variables = setting.variables};
}

}  // namespace

struct Dialogues::Asked {
  Setting setting;
  Standing standing;
  std::vector<Message> messages;
  std::string begun;  // what the answer begins with
  bool asks = false;

  bool is_fresh() const {
    return standing.state == DialogueState::kFresh || standing.state == DialogueState::kAfterSystem;
  }
};

Dialogues::Dialogues(const Model& model, const std::string& template_name)
    : model_(&model),
      own_(choose_template(model, template_name)),
      format_(choose_format(model, template_name)) {
  if (own_) {
    stops_ = own_->stops();
    own_calls_ = own_->answer_form().calls;
  } else if (format_) {
    for (const std::string_view stop : format_->stops()) stops_.emplace_back(stop);
  }
}

std::string Dialogues::name() const {
  if (own_) return own_->name();
  return format_ ? std::string(format_->name()) : std::string("plain");
}

AnswerForm Dialogues::form(const Setting& setting) const {
  AnswerForm form;
  if (own_) form = own_->answer_form(options_of(setting, true));
  if (form.calls == CallStyle::kChannels) return form;
  if (setting.tools.empty()) {
    form.calls = CallStyle::kNone;
  } else if (form.calls == CallStyle::kNone) {
    form.calls = CallStyle::kTagged;  // told in words
  }
  return form;
}

std::vector<Token> Dialogues::opening(const Setting& given) const {
  const Setting setting = own_calls_ == CallStyle::kNone ? in_words(given) : given;
  if (own_) {
    try {
      return own_->opening(system_message(setting), options_of(setting, true));
    } catch (const Error&) {  // a template without a place for a system prompt
    }
  }
  const std::string system = in_words(setting).system;
  if (system.empty()) return {};
  if (format_) return encode(format_->system(system), true);
  return encode(std::array{TextSegment{system + "\n\n", false}}, true);
}

std::vector<Token> Dialogues::turns(const Setting& setting, const Standing& standing,
                                    std::span<const Message> messages, bool asks) const {
  Asked asked = {.setting = setting,
                 .standing = standing,
                 .messages = {messages.begin(), messages.end()},
                 .asks = asks};
  if (!messages.empty() && is_of_assistant(messages.back())) {
    asked.begun = messages.back().content;
    asked.messages.pop_back();
    asked.asks = true;
  }
  for (Message& message : asked.messages) {
    if (message.role == "developer") message.role = "system";
  }
  const bool goes_on = asked.messages.empty() && standing.state == DialogueState::kAnswerOpen;
  if (goes_on || (asked.messages.empty() && !asked.asks)) {
    return encode(std::array{TextSegment{asked.begun, false}}, false);
  }
  if (asked.messages.empty() && standing.state != DialogueState::kUserOpen)
    asked.messages.push_back({.role = "user"});
  std::optional<std::vector<Token>> tokens;
  if (own_calls_ != CallStyle::kNone) tokens = by_template(asked);
  if (!tokens) {
    asked.messages = serve::in_words(asked.messages);
    asked.setting = in_words(asked.setting);
    asked.standing.calls.clear();
    tokens = by_template(asked);
  }
  if (!tokens) tokens = by_format(asked);
  const std::vector<Token> begun = encode(std::array{TextSegment{asked.begun, false}}, false);
  tokens->insert(tokens->end(), begun.begin(), begun.end());
  return std::move(*tokens);
}

DialogueState Dialogues::state_behind(DialogueState state, std::span<const Message> messages,
                                      bool asks) {
  if (asks || (!messages.empty() && is_of_assistant(messages.back())))
    return DialogueState::kAnswerOpen;
  return messages.empty() ? state : DialogueState::kUserOpen;
}

// nullopt: there is no template, or it refuses such a dialogue.
std::optional<std::vector<Token>> Dialogues::by_template(const Asked& asked) const try {
  if (!own_) return std::nullopt;
  return interpreted(asked);
} catch (const Error&) {
  return std::nullopt;
}

// What the template makes of the messages behind stand-ins for what was said before. Error: it
// refuses them.
std::vector<Token> Dialogues::interpreted(const Asked& asked) const {
  const ChatOptions options = options_of(asked.setting, asked.asks);
  std::vector<Message> added = asked.messages;
  std::vector<Message> before = system_message(asked.setting);
  if (own_calls_ == CallStyle::kListed) std::for_each(added.begin(), added.end(), shorten_ids);
  if (asked.is_fresh()) {
    std::vector<Token> tokens = own_->turn(before, added, options);
    if (asked.standing.state == DialogueState::kAfterSystem) return tokens;
    const std::vector<Token> opening = own_->opening(before, options);  // was not read
    tokens.insert(tokens.begin(), opening.begin(), opening.end());
    return tokens;
  }
  // Behind something that was said, what the dialogue began with is not said again.
  before = {{.role = "user", .content = kStandIn}};
  if (asked.standing.state == DialogueState::kUserOpen)
    return behind_user({.messages = std::move(added)}, options);
  before.push_back({.role = "assistant", .content = kStandIn, .tool_calls = asked.standing.calls});
  if (own_calls_ == CallStyle::kListed) shorten_ids(before.back());
  ChatOptions later = options;
  const bool has_calls = !asked.standing.calls.empty() ||
                         std::any_of(added.begin(), added.end(), [](const Message& message) {
                           return message.role == "tool" || !message.tool_calls.empty();
                         });
  if (!has_calls) later.tools.clear();
  std::vector<Token> tokens = own_->turn(before, added, later);
  const bool is_closed = asked.standing.state == DialogueState::kAnswered && !tokens.empty() &&
                         is_control(tokens.front());
  if (is_closed) tokens.erase(tokens.begin());
  return tokens;
}

std::vector<Token> Dialogues::behind_user(const Asked& asked, const ChatOptions& options) const {
  std::vector<Message> dialogue = {{.role = "user", .content = kStandIn}};
  ChatOptions closed = options;
  closed.add_generation_prompt = false;
  const std::string before = joined(own_->text(dialogue, closed));
  dialogue.insert(dialogue.end(), asked.messages.begin(), asked.messages.end());
  const std::vector<ChatText> all = own_->text(dialogue, options);
  if (!joined(all).starts_with(before))
    throw Error(own_->name() + ": a user's message changes with what follows it");
  return own_->tokens(behind(all, before.size()), false);
}

std::vector<Token> Dialogues::by_format(const Asked& asked) const {
  std::vector<TextSegment> out;
  DialogueState state = asked.standing.state;
  for (const Message& message : asked.messages) {
    if (message.role == "assistant") {
      ask(state, out);
      out.push_back({message.content, false});
    } else {
      say(message.content, state, out);
    }
  }
  if (asked.asks) ask(state, out);
  const bool is_first = asked.standing.state == DialogueState::kFresh;
  const bool is_closed = asked.standing.state == DialogueState::kAnswered;
  std::vector<Token> tokens = encode(out, is_first);
  if (is_closed && !tokens.empty() && is_control(tokens.front())) tokens.erase(tokens.begin());
  return tokens;
}

// A user's message; behind another one it goes on in the same turn.
void Dialogues::say(std::string_view text, DialogueState& state,
                    std::vector<TextSegment>& out) const {
  const bool is_open = state == DialogueState::kUserOpen;
  if (state == DialogueState::kAnswerOpen || state == DialogueState::kAnswered)
    append(out, closing());
  const Turn turn = state == DialogueState::kFresh         ? Turn::kFirst
                    : state == DialogueState::kAfterSystem ? Turn::kAfterSystem
                                                           : Turn::kLater;
  state = DialogueState::kUserOpen;
  if (is_open) {
    out.push_back({std::string("\n").append(text), false});
  } else if (!format_) {
    out.push_back({std::string(text), false});
  } else {
    std::vector<TextSegment> segments = format_->user_turn(text, turn);
    segments.pop_back();  // where the answer would begin
    append(out, std::move(segments));
  }
}

void Dialogues::ask(DialogueState& state, std::vector<TextSegment>& out) const {
  if (state == DialogueState::kAnswerOpen) return;
  if (state != DialogueState::kUserOpen && format_) say("", state, out);
  state = DialogueState::kAnswerOpen;
  if (format_) {
    out.push_back(format_->user_turn("?", Turn::kLater).back());
  } else {
    out.push_back({"\n", false});
  }
}

std::vector<TextSegment> Dialogues::closing() const {
  if (format_) return format_->end_of_answer();
  return {{"\n", false}};
}

std::vector<Token> Dialogues::encode(std::span<const TextSegment> segments, bool is_first) const {
  return model_->internals().vocabulary().encode(segments,
                                                 {.add_bos = is_first, .space_prefix = is_first});
}

bool Dialogues::is_control(Token token) const {
  return model_->internals().vocabulary().is_control(token);
}

}  // namespace runnel::serve
