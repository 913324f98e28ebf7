#include "serve/hub/chat_text.h"

#include <utility>

#include "engine/internals.h"

namespace runnel::serve {
namespace {

constexpr char kSpecial = '\xff';

std::optional<ChatFormat> choose_template(const Model& model, const std::string& name) {
  if (name == "plain") return std::nullopt;
  if (!name.empty()) return ChatFormat::named(name);
  const std::string_view own = model.internals().file.get_string("tokenizer.chat_template", "");
  if (own.empty()) return std::nullopt;
  return ChatFormat::detect(own);
}

void append(std::vector<TextSegment>& out, std::vector<TextSegment> more) {
  for (TextSegment& segment : more) out.push_back(std::move(segment));
}

}  // namespace

ChatText::ChatText(const Model& model, const std::string& template_name)
    : model_(&model), template_(choose_template(model, template_name)) {
  if (!template_) return;
  for (const std::string_view stop : template_->stops()) stops_.emplace_back(stop);
  const Tokenizer& vocabulary = model.internals().vocabulary();
  const std::vector<Token> tokens = encode(closing(), false);
  if (!tokens.empty() && vocabulary.is_control(tokens.front()))
    closing_mark_ = vocabulary.decode(tokens.front(), true);
}

std::string ChatText::name() const {
  return template_ ? std::string(template_->name()) : std::string("plain");
}

std::vector<TextSegment> ChatText::opening(std::string_view system) const {
  if (system.empty()) return {};
  if (template_) return template_->system(system);
  return {{std::string(system) + "\n\n", false}};
}

std::vector<TextSegment> ChatText::turns(std::span<const Message> messages, DialogueState& state,
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

// A user's message; behind another one it goes on in the same turn.
void ChatText::say(std::string_view text, DialogueState& state,
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

void ChatText::ask(DialogueState& state, std::vector<TextSegment>& out) const {
  if (state == DialogueState::kAnswerOpen) return;
  if (state != DialogueState::kUserOpen && template_) say("", state, out);
  state = DialogueState::kAnswerOpen;
  if (template_) {
    out.push_back(template_->user_turn("?", Turn::kLater).back());
  } else {
    out.push_back({"\n", false});
  }
}

std::vector<TextSegment> ChatText::closing() const {
  if (template_) return template_->end_of_answer();
  return {{"\n", false}};
}

std::vector<TextSegment> ChatText::closing_after_mark() const {
  const std::string text = flagged(closing());
  const TextSegment mark = {closing_mark_, true};
  const std::string begun = flagged({&mark, 1});
  return unflagged(std::string_view(text).substr(text.starts_with(begun) ? begun.size() : 0));
}

std::vector<Token> ChatText::encode(std::span<const TextSegment> segments, bool is_first) const {
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
