#include "serve/hub/answer_text.h"

#include <utility>

namespace runnel::serve {

using EventKind = AnswerEvent::Kind;

AnswerText::AnswerText(Options options, const Tokenizer& vocabulary)
    : options_(std::move(options)),
      vocabulary_(vocabulary),
      stops_(options_.stops),
      turn_ends_(options_.turn_ends),
      said_{.role = "assistant", .content = options_.begun},
      is_thinking_(options_.form.begins_thinking) {
  const AnswerForm& form = options_.form;
  if (form.calls != CallStyle::kNone || !form.think_begin.empty() || !form.think_end.empty())
    parser_.emplace(form);
}

std::vector<AnswerEvent> AnswerText::push(Token token, const std::string& text) {
  std::vector<AnswerEvent> shown;
  std::string more = turn_ends_.push(std::exchange(half_, {}) + text);
  const bool is_mark = parser_ && vocabulary_.is_control(token);
  if (is_mark) more += turn_ends_.flush();
  if (parser_) {
    show(parser_->push(more), shown);
    if (is_mark) show(parser_->push_mark(vocabulary_.piece(token)), shown);
  } else if (!more.empty()) {
    show({.kind = EventKind::kText, .text = std::move(more)}, shown);
  }
  if (turn_ends_.found() != nullptr) end("");
  return shown;
}

std::vector<AnswerEvent> AnswerText::flush(const std::string& rest) {
  std::vector<AnswerEvent> shown;
  const bool has_ended = turn_ends_.found() != nullptr;
  const std::string last = has_ended ? "" : turn_ends_.flush() + half_ + rest;
  if (parser_) {
    show(parser_->push(last), shown);
    show(parser_->finish(), shown);
  } else {
    show({.kind = EventKind::kText, .text = last}, shown);
  }
  if (is_cut_) return shown;
  if (std::string held = stops_.flush(); !held.empty()) {
    said_.content += held;
    shown.push_back({.kind = EventKind::kText, .text = std::move(held)});
  }
  return shown;
}

bool AnswerText::holds_nothing() const {
  return !parser_ && half_.empty() && stops_.is_empty() && turn_ends_.is_empty();
}

void AnswerText::show(std::vector<AnswerEvent> parsed, std::vector<AnswerEvent>& shown) {
  for (AnswerEvent& event : parsed) show(std::move(event), shown);
}

void AnswerText::show(AnswerEvent event, std::vector<AnswerEvent>& shown) {
  if (is_cut_) return;
  is_thinking_ = event.kind == EventKind::kReasoning;
  switch (event.kind) {
    case EventKind::kText:
      event.text = stops_.push(event.text);
      if (options_.keeps_text) said_.content += event.text;
      break;
    case EventKind::kReasoning:
      break;
    case EventKind::kCallBegin:
      if (event.id.empty()) event.id = options_.id();
      said_.tool_calls.push_back({.id = event.id, .name = event.name});
      break;
    case EventKind::kCallArguments:
      said_.tool_calls.back().arguments += event.text;
      break;
    case EventKind::kCallEnd:
      is_cut_ = options_.one_call;
      if (is_cut_) end("");
      break;
  }
  const bool is_said = event.kind == EventKind::kText || event.kind == EventKind::kReasoning;
  if (!is_said || !event.text.empty()) shown.push_back(std::move(event));
  if (stops_.found() == nullptr) return;
  said_.content += *stops_.found();  // the stream holds it
  is_cut_ = true;
  end(*stops_.found());
}

void AnswerText::end(std::string why) {
  if (!why_) why_ = std::move(why);
}

}  // namespace runnel::serve
