#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "chat/rendering.h"
#include "engine/internals.h"
#include "runnel/chat.h"
#include "runnel/runnel.h"

namespace runnel {

struct ChatTemplate::State {
  const Tokenizer* vocabulary;
  std::string name;
  bool is_interpreted = false;
  std::unique_ptr<ChatRendering> rendering;
  std::unique_ptr<ChatRendering> tool_rendering;  // the file's template "tool_use"; may be null
  std::string warning = {};
  std::vector<std::string> stops = {};
  std::string source = {};  // of an interpreted template, and of that for tools

  std::vector<ChatText> render(std::span<const ChatMessage> messages,
                               const ChatOptions& options) const;
  std::vector<Token> encode(std::span<const ChatText> text, bool is_first) const;
  std::vector<ChatText> closing() const;
  std::string header(const std::vector<ChatMessage>& before, const ChatOptions& options) const;
  std::vector<ChatText> opening_text(std::span<const ChatMessage> before,
                                     const ChatOptions& options) const;
  std::vector<Token> first_turn(std::span<const ChatMessage> before,
                                std::span<const ChatMessage> added,
                                const ChatOptions& options) const;
  std::vector<Token> later_turn(std::span<const ChatMessage> before,
                                std::span<const ChatMessage> added,
                                const ChatOptions& options) const;
  void learn();
};

namespace {

using Messages = std::vector<ChatMessage>;

bool is_system(const ChatMessage& message) {
  return message.role == "system" || message.role == "developer";
}

// A word that occurs in none of the messages.
std::string unused_word(std::span<const ChatMessage> messages) {
  const auto is_used = [&](const std::string& word) {
    return std::any_of(messages.begin(), messages.end(), [&](const ChatMessage& m) {
      return m.content.find(word) != m.content.npos || m.reasoning.find(word) != m.content.npos ||
             std::any_of(m.tool_calls.begin(), m.tool_calls.end(), [&](const ToolCall& call) {
               return call.arguments.find(word) != std::string::npos;
             });
    });
  };
  for (int i = 0;; ++i) {
    std::string word = fmt::format("answer{}x", i);
    if (!is_used(word)) return word;
  }
}

std::vector<ChatText> from(std::span<const ChatText> text, std::size_t begin) {
  std::vector<ChatText> rest;
  for (const ChatText& piece : text) {
    const std::size_t skipped = std::min(begin, piece.text.size());
    begin -= skipped;
    if (skipped < piece.text.size())
      rest.push_back({piece.text.substr(skipped), piece.is_template});
  }
  return rest;
}

std::vector<ChatText> up_to(std::span<const ChatText> text, std::size_t end) {
  std::vector<ChatText> first;
  for (const ChatText& piece : text) {
    if (end == 0) break;
    first.push_back({piece.text.substr(0, end), piece.is_template});
    end -= first.back().text.size();
  }
  return first;
}

template <typename Sequence>
std::size_t common_prefix(const Sequence& a, const Sequence& b) {
  const auto n = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.begin() + n, b.begin()).first -
                                  a.begin());
}

Messages with(std::span<const ChatMessage> before, std::span<const ChatMessage> added) {
  Messages all(before.begin(), before.end());
  all.insert(all.end(), added.begin(), added.end());
  return all;
}

// Marks as <|im_start|> in the template's own text that are no tokens of the vocabulary.
void find_missing_marks(std::string_view text, const Tokenizer& vocabulary,
                        std::vector<std::string>& missing) {
  for (std::size_t at = text.find('<'); at != text.npos; at = text.find('<', at + 1)) {
    const std::size_t end = text.find('>', at);
    if (end == text.npos) return;
    const std::string mark(text.substr(at, end + 1 - at));
    const bool is_mark = mark.size() <= 48 && mark.find_first_of(" \n\t<", 1) == mark.npos &&
                         ((mark.starts_with("<|") && mark.ends_with("|>")) ||
                          (mark.starts_with("<｜") && mark.ends_with("｜>")) ||
                          mark == "<start_of_turn>" || mark == "<end_of_turn>");
    if (!is_mark || vocabulary.find(mark)) continue;
    if (std::find(missing.begin(), missing.end(), mark) == missing.end()) missing.push_back(mark);
  }
}

std::string stripped_end(std::string text) {
  const std::size_t last = text.find_last_not_of(" \n\t");
  text.resize(last == text.npos ? 0 : last + 1);
  return text;
}

}  // namespace

std::vector<ChatText> ChatTemplate::State::render(std::span<const ChatMessage> messages,
                                                  const ChatOptions& options) const {
  const bool wants_tools = tool_rendering != nullptr && !options.tools.empty();
  return (wants_tools ? tool_rendering : rendering)->render(messages, options);
}

std::vector<Token> ChatTemplate::State::encode(std::span<const ChatText> text,
                                               bool is_first) const {
  std::vector<TextSegment> segments;
  for (const ChatText& piece : text) segments.push_back({piece.text, piece.is_template});
  if (segments.empty()) return {};
  // A template writes the BOS itself, where there is to be one.
  return vocabulary->encode(segments,
                            {.add_bos = is_first && !is_interpreted, .space_prefix = is_first});
}

std::vector<ChatText> ChatTemplate::State::closing() const {
  const Messages messages = {{.role = "user", .content = "Hi"}, {.role = "assistant"}};
  Messages probe = messages;
  probe[1].content = unused_word(messages);
  const std::vector<ChatText> text = render(probe, {.add_generation_prompt = false});
  const std::size_t at = joined(text).rfind(probe[1].content);
  if (at == std::string::npos) throw Error(name + ": an answer's text is not in what it writes");
  return from(text, at + probe[1].content.size());
}

// What stands between the end of an answer and what the user says then.
std::string ChatTemplate::State::header(const Messages& before, const ChatOptions& options) const {
  const std::string answer = unused_word(before), question = answer + "q";
  const Messages turns = {{.role = "user", .content = "Hi"},
                          {.role = "assistant", .content = answer + "."},
                          {.role = "user", .content = question}};
  const std::string text = joined(render(with(before, turns), options));
  const std::size_t at = text.find(answer + "."), end = text.rfind(question);
  if (at == text.npos || end == text.npos || end < at) return "";
  const std::string between = text.substr(at + answer.size() + 1, end - at - answer.size() - 1);
  const std::string close = joined(closing());
  return between.starts_with(close) ? between.substr(close.size()) : between;
}

// The text that every dialogue behind `before` has at its beginning, without the first turn's
// header, which belongs to the turn.
std::vector<ChatText> ChatTemplate::State::opening_text(std::span<const ChatMessage> before,
                                                        const ChatOptions& options) const {
  const Messages a = {{.role = "user", .content = "a"}}, b = {{.role = "user", .content = "7"}};
  const std::vector<ChatText> text = render(with(before, a), options);
  const std::string bytes = joined(text);
  std::size_t end = common_prefix(bytes, joined(render(with(before, b), options)));
  std::string head;
  try {
    head = header(with(before, {}), options);
  } catch (const Error&) {  // a template for one turn only
  }
  if (bytes.substr(0, end).ends_with(head)) end -= head.size();
  const auto bos = vocabulary->bos();
  if (bos && bytes.substr(0, end) == vocabulary->piece(*bos)) end = 0;
  return up_to(text, end);
}

std::vector<Token> ChatTemplate::State::first_turn(std::span<const ChatMessage> before,
                                                   std::span<const ChatMessage> added,
                                                   const ChatOptions& options) const {
  const std::vector<ChatText> text = render(with(before, added), options);
  std::vector<Token> tokens = encode(text, true);
  std::vector<ChatText> opening = opening_text(before, options);
  std::vector<Token> pinned = encode(opening, true);
  // A word across the seam keeps to the pinned tokens.
  if (common_prefix(tokens, pinned) < pinned.size()) {
    return encode(from(text, joined(opening).size()), false);
  }
  tokens.erase(tokens.begin(), tokens.begin() + std::ssize(pinned));
  return tokens;
}

std::vector<Token> ChatTemplate::State::later_turn(std::span<const ChatMessage> before,
                                                   std::span<const ChatMessage> added,
                                                   const ChatOptions& options) const {
  Messages all = with(before, added);
  ChatMessage& answer = all[before.size() - 1];
  const std::string word = unused_word(all);
  answer.content = word;
  answer.reasoning.clear();
  for (ToolCall& call : answer.tool_calls) call.arguments = fmt::format("{{\"a\":\"{}\"}}", word);
  const std::vector<ChatText> text = render(all, options);
  const std::string bytes = joined(text);
  std::size_t at = bytes.rfind(word);
  if (at == bytes.npos) throw Error(name + ": an answer's text is not in what it writes");
  at += word.size();
  if (answer.tool_calls.empty()) return encode(from(text, at), false);
  // The calls are part of what the model wrote, up to its end of an answer.
  std::vector<Token> tokens = encode(from(text, at), false);
  const auto end = std::find_if(tokens.begin(), tokens.end(), [this](Token token) {
    return vocabulary->is_end_of_generation(token);
  });
  if (end != tokens.end()) return {end, tokens.end()};
  const std::string close = joined(closing());
  const std::size_t begin = close.empty() ? bytes.npos : bytes.find(close, at);
  if (begin == bytes.npos) throw Error(name + ": the end of a call is not to be found");
  return encode(from(text, begin), false);
}

// Marks and texts that end an answer, from small dialogues.
void ChatTemplate::State::learn() {
  const Messages hi = {{.role = "user", .content = "Hi"}};
  std::vector<std::string> missing;
  const auto look = [&](const std::vector<ChatText>& text) {
    for (const ChatText& piece : text) {
      if (piece.is_template) find_missing_marks(piece.text, *vocabulary, missing);
    }
  };
  look(render(hi, {}));
  try {
    const std::vector<ChatText> close = closing();
    look(close);
    const std::vector<Token> tokens = encode(close, false);
    const bool has_mark = !tokens.empty() && vocabulary->is_control(tokens.front());
    const std::string stop = stripped_end(joined(close) + header({}, {}));
    if (is_interpreted && !has_mark && stop.size() >= 3) stops.push_back(stop);
  } catch (const Error&) {  // a template for one turn only: nothing to learn
  }
  if (missing.empty()) return;
  warning += fmt::format("{}{}: not tokens of this vocabulary, so written letter by letter: {}",
                         warning.empty() ? "" : "; ", name, fmt::join(missing, " "));
}

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

namespace {

constexpr std::string_view kKey = "tokenizer.chat_template";

std::string format_list() { return fmt::format("{}", fmt::join(ChatFormat::known_names(), ", ")); }

}  // namespace

ChatTemplate ChatTemplate::of(const Model& model, const std::string& name) {
  const gguf::File& file = model.internals().file;
  const Tokenizer& vocabulary = model.internals().vocabulary();
  auto state = std::make_unique<State>(State{.vocabulary = &vocabulary});
  const auto take_format = [&](const ChatFormat& format) {
    state->name = fmt::format("format {}", format.name());
    state->is_interpreted = false;
    state->rendering = by_format(format);
    for (const std::string_view stop : format.stops()) state->stops.emplace_back(stop);
    state->learn();
  };
  const std::string key = name.empty() ? std::string(kKey) : fmt::format("{}.{}", kKey, name);
  const std::string_view source = file.get_string(key, "");
  if (source.empty() && name.empty()) {
    throw Error(
        fmt::format("{}: the model has no chat template; choose one with --chat-template: {}",
                    model.name(), format_list()));
  }
  if (source.empty()) {
    take_format(ChatFormat::named(name));
    return ChatTemplate(std::move(state));
  }
  try {
    state->name = name.empty() ? "the model's own template" : "the model's template " + name;
    state->is_interpreted = true;
    state->rendering = interpreted(jinja::Template::parse(source), vocabulary);
    state->source = source;
    state->learn();
    const std::string_view tools = file.get_string(fmt::format("{}.tool_use", kKey), "");
    if (name.empty() && !tools.empty()) {
      state->tool_rendering = interpreted(jinja::Template::parse(tools), vocabulary);
      state->source += tools;
    }
  } catch (const Error& error) {
    if (!name.empty()) throw;
    const ChatFormat format = [&] {
      try {
        return ChatFormat::detect(source);
      } catch (const Error&) {
        throw Error(
            fmt::format("{}: its chat template cannot be rendered ({}); choose a format with "
                        "--chat-template: {}",
                        model.name(), error.what(), format_list()));
      }
    }();
    state->stops.clear();
    state->source.clear();
    state->warning = fmt::format(
        "the model's own template cannot be rendered ({}); taken instead: "
        "format {}",
        error.what(), format.name());
    take_format(format);
  }
  return ChatTemplate(std::move(state));
}

ChatTemplate ChatTemplate::from_source(const Model& model, std::string_view source) {
  const Tokenizer& vocabulary = model.internals().vocabulary();
  auto state = std::make_unique<State>(
      State{.vocabulary = &vocabulary, .name = "the given template", .is_interpreted = true});
  state->rendering = interpreted(jinja::Template::parse(source), vocabulary);
  state->source = source;
  state->learn();
  return ChatTemplate(std::move(state));
}

std::vector<std::string> ChatTemplate::format_names() {
  std::vector<std::string> names;
  for (const std::string_view name : ChatFormat::known_names()) names.emplace_back(name);
  return names;
}

const std::string& ChatTemplate::name() const { return state_->name; }
bool ChatTemplate::is_interpreted() const { return state_->is_interpreted; }
const std::string& ChatTemplate::warning() const { return state_->warning; }
const std::vector<std::string>& ChatTemplate::stops() const { return state_->stops; }

std::vector<ChatText> ChatTemplate::text(std::span<const ChatMessage> messages,
                                         const ChatOptions& options) const {
  return state_->render(messages, options);
}

std::vector<Token> ChatTemplate::tokens(std::span<const ChatMessage> messages,
                                        const ChatOptions& options) const {
  return state_->encode(state_->render(messages, options), true);
}

std::vector<Token> ChatTemplate::tokens(std::span<const ChatText> text, bool is_first) const {
  return state_->encode(text, is_first);
}

std::vector<Token> ChatTemplate::opening(std::span<const ChatMessage> before,
                                         const ChatOptions& options) const {
  if (!std::all_of(before.begin(), before.end(), is_system)) {
    throw Error("opening of a dialogue: want system messages only");
  }
  return state_->encode(state_->opening_text(before, options), true);
}

std::vector<Token> ChatTemplate::turn(std::span<const ChatMessage> before,
                                      std::span<const ChatMessage> added,
                                      const ChatOptions& options) const {
  if (std::all_of(before.begin(), before.end(), is_system)) {
    return state_->first_turn(before, added, options);
  }
  if (before.back().role != "assistant") {
    throw Error(fmt::format("turn of a dialogue: want a history that ends with an answer, found {}",
                            before.back().role));
  }
  return state_->later_turn(before, added, options);
}

std::vector<Token> ChatTemplate::end_of_answer() const {
  return state_->encode(state_->closing(), false);
}

bool ChatTemplate::is_end(Token token) const {
  return state_->vocabulary->is_end_of_generation(token);
}

AnswerForm ChatTemplate::answer_form(const ChatOptions& options) const {
  const std::string& source = state_->source;
  const auto has = [&](std::string_view mark) { return source.find(mark) != source.npos; };
  AnswerForm form;
  if (has("<|channel|>") && has("<|start|>")) {
    form.calls = CallStyle::kChannels;
    return form;  // its thoughts have a channel
  }
  if (has("[TOOL_CALLS]")) {
    form.calls = CallStyle::kListed;
  } else if (has("<tool_call>") && !has("<arg_key>") && !has("<function=")) {
    form.calls = CallStyle::kTagged;
  } else if (has("<|start_header_id|>") && has("tools")) {
    form.calls = CallStyle::kBare;
  }
  for (const auto& [begin, end] :
       {std::pair("<think>", "</think>"), std::pair("[THINK]", "[/THINK]")}) {
    if (!has(begin) && !has(end)) continue;
    form.think_begin = begin;
    form.think_end = end;
    const std::vector<ChatMessage> hi = {{.role = "user", .content = "Hi"}};
    const std::string prompt = joined(state_->render(hi, options));
    const std::size_t begun = prompt.rfind(begin), ended = prompt.rfind(end);
    form.begins_thinking = begun != prompt.npos && (ended == prompt.npos || ended < begun);
    break;
  }
  return form;
}

}  // namespace runnel
