#include "runnel/answer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "chat/call_scanner.h"

namespace runnel {
namespace {

using Kind = AnswerEvent::Kind;

// How many bytes at the end of `text` may be the beginning of `mark`.
std::size_t overlap(std::string_view text, std::string_view mark) {
  for (std::size_t n = std::min(text.size(), mark.size()); n > 0; --n) {
    if (text.ends_with(mark.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

struct AnswerParser::State {
  enum class Mode {
    kText,
    kReasoning,
    kCall,    // the object of a call
    kList,    // between the calls of a list
    kName,    // a name up to [ARGS]
    kHeader,  // a message's, between marks (kChannels)
    kBody,    // arguments as a message's whole body (kChannels)
  };

  AnswerForm form;
  Mode mode = Mode::kText;
  std::string held = {};     // may become a mark
  std::string space = {};    // at the end of a text: dropped before a mark
  bool drops_space = false;  // right behind a mark
  bool may_be_bare = false;  // nothing but space came: a call may begin without a mark
  bool is_raw = false;       // the call is its arguments alone
  std::optional<CallScanner> scanner = {};
  std::string header = {};
  int n_calls = 0;
  std::vector<AnswerEvent> events = {};

  void say(std::string_view text);
  void read(std::string_view text);
  std::size_t read_text(std::string_view text);
  std::size_t read_call(std::string_view text);
  std::size_t read_list(std::string_view text);
  std::size_t read_name(std::string_view text);
  void begin_call() {
    mode = Mode::kCall;
    scanner.emplace(n_calls);
  }
  void end_call();
  void give_up_call();
  void meet(std::string_view mark);
  void meet_channel(std::string_view mark);
  void begin_body();
  std::vector<std::string_view> marks() const;
  void finish();
};

// Text or thoughts; space at the end waits for what follows.
void AnswerParser::State::say(std::string_view text) {
  while (drops_space && !text.empty() && is_space(text.front())) text.remove_prefix(1);
  if (text.empty()) return;
  drops_space = false;
  std::size_t end = text.size();
  while (end > 0 && is_space(text[end - 1])) --end;
  if (end > 0) {
    std::string whole = std::exchange(space, {}) + std::string(text.substr(0, end));
    const Kind kind = mode == Mode::kReasoning ? Kind::kReasoning : Kind::kText;
    if (!events.empty() && events.back().kind == kind) {
      events.back().text += whole;
    } else {
      events.push_back({.kind = kind, .text = std::move(whole)});
    }
  }
  space += text.substr(end);
}

void AnswerParser::State::read(std::string_view text) {
  const std::string all = std::exchange(held, {}) + std::string(text);
  std::string_view rest = all;
  while (!rest.empty()) {
    std::size_t n_read = rest.size();
    switch (mode) {
      case Mode::kText:
      case Mode::kReasoning:
        n_read = read_text(rest);
        break;
      case Mode::kCall:
        n_read = read_call(rest);
        break;
      case Mode::kList:
        n_read = read_list(rest);
        break;
      case Mode::kName:
        n_read = read_name(rest);
        break;
      case Mode::kHeader:
        header += rest;
        break;
      case Mode::kBody:
        events.push_back(
            {.kind = Kind::kCallArguments, .text = std::string(rest), .index = n_calls});
        break;
    }
    if (n_read == 0) {  // waits for more
      held = rest;
      break;
    }
    rest.remove_prefix(n_read);
  }
  if (scanner) scanner->flush(events);
}

// The marks that text may hold in this mode.
std::vector<std::string_view> AnswerParser::State::marks() const {
  if (form.calls == CallStyle::kChannels) return {};
  if (mode == Mode::kReasoning) return {form.think_end};
  std::vector<std::string_view> marks;
  if (!form.think_begin.empty()) marks.push_back(form.think_begin);
  if (form.calls == CallStyle::kTagged) marks.insert(marks.end(), {"<tool_call>", "</tool_call>"});
  if (form.calls == CallStyle::kListed) marks.push_back("[TOOL_CALLS]");
  return marks;
}

// Up to a mark, which is met, or all that is surely none.
std::size_t AnswerParser::State::read_text(std::string_view text) {
  if (mode == Mode::kText && may_be_bare && !is_space(text.front())) {
    may_be_bare = false;
    if (text.front() == '{') {
      space.clear();
      begin_call();
      return read_call(text);
    }
  }
  const std::size_t n_space = std::find_if_not(text.begin(), text.end(), is_space) - text.begin();
  if (mode == Mode::kText && may_be_bare && n_space > 0) {
    say(text.substr(0, n_space));
    return n_space;
  }
  std::size_t at = text.size(), n_held = 0;
  std::string_view found;
  for (const std::string_view mark : marks()) {
    const std::size_t place = text.find(mark);
    if (place < at) {
      at = place;
      found = mark;
    }
    n_held = std::max(n_held, overlap(text, mark));
  }
  if (found.empty()) at -= n_held;
  say(text.substr(0, at));
  if (found.empty()) return at;
  meet(found);
  return at + found.size();
}

void AnswerParser::State::meet(std::string_view mark) {
  space.clear();
  drops_space = true;
  if (mark == form.think_begin && !mark.empty()) {
    mode = Mode::kReasoning;
  } else if (mark == form.think_end && !mark.empty()) {
    mode = Mode::kText;
    may_be_bare = form.calls == CallStyle::kBare;
  } else if (mark == "<tool_call>") {
    begin_call();
  } else if (mark == "[TOOL_CALLS]") {
    mode = Mode::kName;
  } else if (mark == "<|python_tag|>") {
    may_be_bare = true;
  }
}

std::size_t AnswerParser::State::read_call(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto progress = scanner->push(text[i], events);
    if (is_raw && scanner->depth() == 1 && text[i] == '}') progress = scanner->push('}', events);
    if (progress == CallScanner::Progress::kGoing) continue;
    if (progress == CallScanner::Progress::kDone) {
      end_call();
    } else {
      give_up_call();
    }
    return i + 1;
  }
  return text.size();
}

void AnswerParser::State::end_call() {
  events.push_back({.kind = Kind::kCallEnd, .index = n_calls++});
  scanner.reset();
  drops_space = true;
  mode = form.calls == CallStyle::kListed && !is_raw ? Mode::kList : Mode::kText;
  may_be_bare = form.calls == CallStyle::kBare;
  is_raw = false;
}

// What began like a call is text, or a call that ends here.
void AnswerParser::State::give_up_call() {
  if (scanner->has_begun()) return end_call();
  const std::string raw = (form.calls == CallStyle::kTagged ? "<tool_call>" : "") + scanner->raw();
  scanner.reset();
  mode = Mode::kText;
  drops_space = is_raw = false;
  say(raw);
}

// Between the calls of a list.
std::size_t AnswerParser::State::read_list(std::string_view text) {
  if (text.front() == '{') {
    begin_call();
    return read_call(text);
  }
  if (!is_space(text.front()) && text.front() != ',') {
    mode = Mode::kText;
    if (text.front() != ']') return read_text(text);
  }
  return 1;
}

// Behind [TOOL_CALLS]: a list, or a name and [ARGS].
std::size_t AnswerParser::State::read_name(std::string_view text) {
  constexpr std::string_view kArgs = "[ARGS]";
  if (header.empty() && is_space(text.front())) return 1;
  if (header.empty() && text.front() == '[') {
    mode = Mode::kList;
    return 1;
  }
  const std::size_t at = text.find(kArgs);
  if (at == text.npos) {
    if (text.size() < 200) return 0;
    mode = Mode::kText;
    drops_space = false;
    return read_text(text);
  }
  begin_call();
  is_raw = true;
  const std::string head = "{\"name\":\"" + std::string(text.substr(0, at)) + "\",\"arguments\":";
  for (const char c : head) scanner->push(c, events);
  return at + kArgs.size();
}

// A message is <|start|>assistant to=functions.name<|channel|>commentary json<|message|>body, in
// the order that the model likes; its end is a mark too.
void AnswerParser::State::meet_channel(std::string_view mark) {
  if (mark == "<|message|>") return begin_body();
  if (mark == "<|constrain|>") {
    header += ' ';
    return;
  }
  if (mode == Mode::kBody) events.push_back({.kind = Kind::kCallEnd, .index = n_calls++});
  if (mode != Mode::kHeader) header.clear();
  space.clear();
  mode = Mode::kHeader;
  header += mark;
}

void AnswerParser::State::begin_body() {
  constexpr std::string_view kTo = "to=functions.";
  const std::size_t to = header.find(kTo);
  drops_space = false;
  if (to != std::string::npos) {
    const std::size_t begin = to + kTo.size();
    const std::size_t end = std::min(header.find_first_of(" <", begin), header.size());
    mode = Mode::kBody;
    events.push_back(
        {.kind = Kind::kCallBegin, .index = n_calls, .name = header.substr(begin, end - begin)});
  } else {
    const bool is_thought = header.find("<|channel|>analysis") != std::string::npos;
    mode = is_thought ? Mode::kReasoning : Mode::kText;
  }
  header.clear();
}

void AnswerParser::State::finish() {
  if (mode == Mode::kCall) {
    scanner->flush(events);
    give_up_call();
  } else if (mode == Mode::kBody) {
    events.push_back({.kind = Kind::kCallEnd, .index = n_calls++});
    mode = Mode::kText;
  } else if (mode == Mode::kName) {
    mode = Mode::kText;
  }
  say(std::exchange(held, {}));
  const Kind kind = mode == Mode::kReasoning ? Kind::kReasoning : Kind::kText;
  if (!space.empty()) events.push_back({.kind = kind, .text = std::exchange(space, {})});
}

AnswerParser::AnswerParser(const AnswerForm& form) : state_(new State{.form = form}) {
  state_->may_be_bare = form.calls == CallStyle::kBare;
  if (form.begins_thinking) {
    state_->mode = State::Mode::kReasoning;
    state_->drops_space = true;
  }
}
AnswerParser::AnswerParser(AnswerParser&&) noexcept = default;
AnswerParser& AnswerParser::operator=(AnswerParser&&) noexcept = default;
AnswerParser::~AnswerParser() = default;

std::vector<AnswerEvent> AnswerParser::push(std::string_view text) {
  state_->events.clear();
  state_->read(text);
  return std::exchange(state_->events, {});
}

std::vector<AnswerEvent> AnswerParser::push_mark(std::string_view name) {
  State& s = *state_;
  s.events.clear();
  if (s.mode == State::Mode::kName && name == "[ARGS]") {
    s.read(name);
    return std::exchange(s.events, {});
  }
  s.say(std::exchange(s.held, {}));
  if (s.form.calls == CallStyle::kChannels) {
    s.meet_channel(name);
  } else {
    s.meet(name);
  }
  return std::exchange(s.events, {});
}

std::vector<AnswerEvent> AnswerParser::finish() {
  state_->events.clear();
  state_->finish();
  return std::exchange(state_->events, {});
}

int AnswerParser::calls() const {
  return state_->n_calls + (state_->scanner ? state_->scanner->has_begun() : 0);
}

}  // namespace runnel
