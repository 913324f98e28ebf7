#include "serve/hub/chat_text.h"

#include <utility>

#include "engine/internals.h"

namespace runnel::serve {
namespace {

constexpr char kSpecial = '\xff';

constexpr const char* kStandIn =
    "\x01";  // for what was said before, which only its place matters of

std::optional<ChatFormat> choose_format(const Model& model, const std::string& name) {
  if (name == "plain") return std::nullopt;
  const std::string_view own = model.internals().file.get_string("tokenizer.chat_template", "");
  try {
    if (!name.empty()) return ChatFormat::named(name);
    if (!own.empty()) return ChatFormat::detect(own);
  } catch (const Error&) {  // of no known family
  }
  return std::nullopt;
}

std::optional<ChatTemplate> choose_template(const Model& model, const std::string& name) {
  if (name == "plain") return std::nullopt;
  const std::string_view own = model.internals().file.get_string("tokenizer.chat_template", "");
  if (name.empty() && own.empty()) return std::nullopt;
  ChatTemplate chosen = ChatTemplate::of(model, name);
  if (!chosen.is_interpreted()) return std::nullopt;
  return chosen;
}

ChatMessage chat_message(const Message& message) {
  return {.role = message.role == "developer" ? "system" : message.role, .content = message.text};
}

// Nothing where the template refuses such a dialogue.
std::optional<std::string> rendered(const ChatTemplate& own,
                                    const std::vector<ChatMessage>& messages, bool asks) {
  try {
    std::vector<TextSegment> segments;
    for (const ChatText& piece : own.text(messages, {.add_generation_prompt = asks}))
      segments.push_back({piece.text, piece.is_template});
    return flagged(segments);
  } catch (const Error&) {
    return std::nullopt;
  }
}

void append(std::vector<TextSegment>& out, std::vector<TextSegment> more) {
  for (TextSegment& segment : more) out.push_back(std::move(segment));
}

}  // namespace

Dialogues::Dialogues(const Model& model, const std::string& template_name)
    : model_(&model),
      own_(choose_template(model, template_name)),
      template_(choose_format(model, template_name)) {
  if (own_) {
    stops_ = own_->stops();
  } else if (template_) {
    for (const std::string_view stop : template_->stops()) stops_.emplace_back(stop);
  }
  const Tokenizer& vocabulary = model.internals().vocabulary();
  const std::vector<Token> tokens = own_ ? own_->end_of_answer() : encode(closing(), false);
  if (!tokens.empty() && vocabulary.is_control(tokens.front()))
    closing_mark_ = vocabulary.decode(tokens.front(), true);
}

std::string Dialogues::name() const {
  if (own_) return own_->name();
  return template_ ? std::string(template_->name()) : std::string("plain");
}

std::vector<TextSegment> Dialogues::opening(std::string_view system) const {
  if (system.empty()) return {};
  if (auto segments = interpreted_opening(system)) return *segments;
  if (template_) return template_->system(system);
  return {{std::string(system) + "\n\n", false}};
}

std::vector<TextSegment> Dialogues::turns(std::span<const Message> messages, DialogueState& state,
                                          bool asks) const {
  std::vector<TextSegment> out;
  for (const Message& message : messages) {
    if (message.role == "assistant") {
      ask(state, out);
      out.push_back({message.text, false});
    } else {
      say(message.text, state, out);
    }
  }
  if (asks) ask(state, out);
  return out;
}

std::optional<std::vector<TextSegment>> Dialogues::interpreted_opening(
    std::string_view system) const {
  if (!own_) return std::nullopt;
  const ChatMessage prompt = {.role = "system", .content = std::string(system)};
  const auto alone = rendered(*own_, {prompt}, false);
  const auto followed = rendered(*own_, {prompt, {.role = "user", .content = kStandIn}}, false);
  if (!alone || !followed || !followed->starts_with(*alone)) return std::nullopt;
  return unflagged(*alone);
}

// What the template makes of the whole, less what it makes of stand-ins for what was said before.
std::optional<std::vector<TextSegment>> Dialogues::interpreted_turns(
    std::span<const Message> messages, DialogueState state, bool asks) const {
  if (!own_ || messages.empty()) return std::nullopt;
  const bool is_behind_answer = state == DialogueState::kAnswerOpen ||
                                state == DialogueState::kAnswered ||
                                state == DialogueState::kBetween;
  std::vector<ChatMessage> dialogue;
  if (state == DialogueState::kAfterSystem)
    dialogue.push_back({.role = "system", .content = kStandIn});
  if (state == DialogueState::kUserOpen || is_behind_answer)
    dialogue.push_back({.role = "user", .content = kStandIn});
  if (is_behind_answer) dialogue.push_back({.role = "assistant", .content = kStandIn});
  std::string before;
  if (!dialogue.empty()) {
    const auto text = rendered(*own_, dialogue, false);
    if (!text) return std::nullopt;
    before = *text;
  }
  for (const Message& message : messages) dialogue.push_back(chat_message(message));
  const auto all = rendered(*own_, dialogue, asks);
  if (!all || !all->starts_with(before)) return std::nullopt;
  std::size_t begin = before.size();
  if (is_behind_answer && state != DialogueState::kBetween) {
    const std::size_t answer = before.rfind(kStandIn);
    if (answer == std::string::npos) return std::nullopt;
    begin = answer + 1;
    const TextSegment mark = {closing_mark_, true};
    const std::string closed = flagged({&mark, 1});
    if (state == DialogueState::kAnswered && all->compare(begin, closed.size(), closed) == 0)
      begin += closed.size();
  }
  return unflagged(std::string_view(*all).substr(begin));
}

// A user's message; behind another one it goes on in the same turn.
void Dialogues::say(std::string_view text, DialogueState& state,
                    std::vector<TextSegment>& out) const {
  const bool is_open = state == DialogueState::kUserOpen;
  if (state == DialogueState::kAnswerOpen) append(out, closing());
  if (state == DialogueState::kAnswered) append(out, closing_after_mark());
  const Turn turn = state == DialogueState::kFresh         ? Turn::kFirst
                    : state == DialogueState::kAfterSystem ? Turn::kAfterSystem
                                                           : Turn::kLater;
  state = DialogueState::kUserOpen;
  if (is_open) {
    out.push_back({std::string("\n").append(text), false});
  } else if (!template_) {
    out.push_back({std::string(text), false});
  } else {
    std::vector<TextSegment> segments = template_->user_turn(text, turn);
    segments.pop_back();  // where the answer would begin
    append(out, std::move(segments));
  }
}

void Dialogues::ask(DialogueState& state, std::vector<TextSegment>& out) const {
  if (state == DialogueState::kAnswerOpen) return;
  if (state != DialogueState::kUserOpen && template_) say("", state, out);
  state = DialogueState::kAnswerOpen;
  if (template_) {
    out.push_back(template_->user_turn("?", Turn::kLater).back());
  } else {
    out.push_back({"\n", false});
  }
}

std::vector<TextSegment> Dialogues::closing() const {
  if (template_) return template_->end_of_answer();
  return {{"\n", false}};
}

std::vector<TextSegment> Dialogues::closing_after_mark() const {
  const std::string text = flagged(closing());
  const TextSegment mark = {closing_mark_, true};
  const std::string begun = flagged({&mark, 1});
  return unflagged(std::string_view(text).substr(text.starts_with(begun) ? begun.size() : 0));
}

std::vector<Token> Dialogues::encode(std::span<const TextSegment> segments, bool is_first) const {
  return model_->internals().vocabulary().encode(segments,
                                                 {.add_bos = is_first, .space_prefix = is_first});
}

std::string flagged(std::span<const TextSegment> segments) {
  std::string text;
  for (const TextSegment& segment : segments) {
    if (!segment.is_special) {
      text += segment.text;
      continue;
    }
    for (const char byte : segment.text) {
      text += kSpecial;
      text += byte;
    }
  }
  return text;
}

std::vector<TextSegment> unflagged(std::string_view text) {
  std::vector<TextSegment> segments;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_special = text[i] == kSpecial && i + 1 < text.size();
    if (is_special) ++i;
    if (segments.empty() || segments.back().is_special != is_special)
      segments.push_back({"", is_special});
    segments.back().text += text[i];
  }
  return segments;
}

}  // namespace runnel::serve
