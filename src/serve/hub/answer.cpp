#include "serve/hub/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "engine/internals.h"
#include "serve/hub/channel.h"
#include "serve/hub/hub.h"
#include "serve/log.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kTellEvictionEvery = 64;  // tokens

constexpr std::int64_t kTellMeasuresEvery = 64;  // tokens

std::string text_of(Trouble trouble, const Guard::Measures& measures) {
  switch (trouble) {
    case Trouble::kLoop:
      return fmt::format("the last tokens repeat a run of {}", measures.loop);
    case Trouble::kLikelihood:
      return fmt::format("what it writes has become unlikely, {:.2f} nats a token",
                         -measures.written_log_probability);
    case Trouble::kEntropy:
      return fmt::format("the next token's entropy is {:.2f} nats", measures.entropy);
    case Trouble::kSinks:
      break;
  }
  return fmt::format("the sinks get {:.0f} % of the attention", 100 * measures.sink_share);
}

}  // namespace

Answer::Answer(Hub& hub, Channel& channel, AnswerOptions options,
               std::shared_ptr<AnswerListener> listener)
    : hub_(hub),
      channel_(channel),
      options_(std::move(options)),
      listener_(std::move(listener)),
      stops_(options_.stops),
      turn_ends_(options_.turn_ends),
      said_{.role = "assistant", .content = options_.begun} {
  const AnswerForm& form = options_.form;
  if (form.calls != CallStyle::kNone || !form.think_begin.empty() || !form.think_end.empty())
    parser_.emplace(form);
  is_thinking_ = form.begins_thinking;
}

template <typename Call>
void Answer::tell(Call call) {
  if (!listener_) return;
  try {
    call(*listener_);
  } catch (const std::exception& error) {
    log_warning(fmt::format("stream {}: an answer was given up: {}", channel_.id, error.what()));
    finish(Finish::kFailed, error.what());
  }
}

void Answer::begin(std::vector<Token> tokens) {
  Stream& stream = *channel_.stream;
  to_read_ = std::move(tokens);
  is_begun_ = true;
  ending_.n_cached = stream.position();
  told_evicted_ = Place::of(stream).evicted;
  SamplingOptions sampling = options_.sampling;
  const std::uint64_t seed = options_.seed.value_or(hub_.random_seed());
  seed_ = seed;
  // The sampler begins its random numbers anew where the seed is another than before.
  sampling.seed = seed + 1;
  stream.set_sampling(sampling);
  sampling.seed = seed;
  stream.set_sampling(sampling);
  if (options_.constraint) constraint_ = options_.constraint->clone();
  if (options_.resumed) go_on(*options_.resumed);
  constrain();
  if (options_.resumed) return;
  tell([&](AnswerListener& listener) {
    listener.began(ending_.n_cached, std::ssize(to_read_), seed, Place::of(stream));
  });
}

void Answer::go_on(const Resumed& resumed) {
  ending_.n_cached = resumed.n_cached;
  ending_.n_read = resumed.n_read;
  ending_.n_written = resumed.n_written;
  n_written_before_ = ending_.n_written;
  Detokenizer detokenizer(hub_.vocabulary());
  detokenizer.restore({.at_start = false});
  for (const Token token : resumed.written) {
    const std::string text = detokenizer.push(token);
    if (constraint_) constraint_->accept(token);
    if (options_.ends_with_model && hub_.model().is_end_of_generation(token)) {
      channel_.dialogue = DialogueState::kAnswered;
      return finish(Finish::kStop, "");
    }
    if (!is_finished_) take(token, text);
  }
  half_ = detokenizer.flush();
  show();
  if (!is_finished_ && has_to_end()) finish(Finish::kStop, "");
}

void Answer::fail_unbegun(const std::string& why) {
  is_finished_ = true;
  ending_.finish = is_cancelled_ ? Finish::kCancelled : Finish::kFailed;
  ending_.why = why;
  tell([&](AnswerListener& listener) { listener.ended(ending_, channel_.place); });
}

Stream& Answer::stream() { return *channel_.stream; }

Wish Answer::wish() {
  if (is_rebuilding())  // to its end, whatever happens: else the stream would not be whole
    return {Wish::Kind::kRead, std::span<const Token>(again_).subspan(n_again_)};
  if (is_finished_ || is_cancelled_) return {};
  if (n_taken_ < to_read_.size())
    return {Wish::Kind::kRead, std::span<const Token>(to_read_).subspan(n_taken_),
            options_.is_scored};
  if (options_.most_tokens && ending_.n_written >= *options_.most_tokens) return {};
  return {Wish::Kind::kWrite, {}};
}

void Answer::read(std::size_t n_tokens) {
  if (is_rebuilding()) return rebuilt(n_tokens);
  const std::span<const Token> tokens =
      std::span<const Token>(to_read_).subspan(n_taken_, n_tokens);
  hub_.keep(channel_, tokens);
  n_taken_ += n_tokens;
  ending_.n_read += static_cast<std::int64_t>(n_tokens);
  channel_.reading.add(std::ssize(tokens));
  const Place place = Place::of(stream());
  channel_.place = place;
  tell_eviction(n_taken_ == to_read_.size());
  tell([&](AnswerListener& listener) {
    listener.reading(ending_.n_read, std::ssize(to_read_), place);
  });
}

void Answer::scored(std::span<const float> log_probabilities) {
  for (const float value : log_probabilities) {
    channel_.guard.read(static_cast<double>(value));
    ending_.read.add(static_cast<double>(value));
  }
}

void Answer::will_step() {
  if (is_rebuilding()) return;
  const std::span<const float> logits = stream().logits();
  next_ = {};
  if (logits.empty()) return;
  if (n_taken_ < to_read_.size()) return channel_.guard.will_read(logits, to_read_[n_taken_]);
  channel_.guard.look(logits);
  if (options_.n_top > 0) next_.top = stream().top_logprobs(options_.n_top);
  look_at_attention();
}

void Answer::wrote(const Stream::Step& step) {
  const auto now = std::chrono::steady_clock::now();
  hub_.count_token(std::chrono::duration<double>(now - since_).count(), ending_.n_written == 0);
  since_ = now;
  channel_.writing.add(1);
  ++ending_.n_written;
  hub_.keep(channel_, {&step.token, 1});
  channel_.place = Place::of(stream());
  if (options_.wants_log_probabilities) {
    unshown_.tokens.push_back({step.token, step.log_probability, std::move(next_.top)});
  } else {
    unshown_.tokens.push_back({.token = step.token, .log_probability = step.log_probability});
  }
  try {
    if (constraint_) constraint_->accept(step.token);
  } catch (const Error& error) {
    return finish(Finish::kFailed, error.what());
  }
  if (step.end_of_generation && options_.ends_with_model) {
    unshown_.tokens.pop_back();
    channel_.dialogue = DialogueState::kAnswered;
    return finish(Finish::kStop, "");
  }
  take(step.token, step.text);
  show();
  if (is_finished_) return;
  if (has_to_end()) return finish(Finish::kStop, "");
  // Where nothing that was written is held back, a copy of the stream is all that is to be kept.
  const bool is_all_shown = step.text == hub_.model().token_text(step.token) && !parser_ &&
                            !constraint_ && half_.empty() && stops_.is_empty() &&
                            turn_ends_.is_empty();
  if (is_all_shown && !step.text.empty()) hub_.checkpoint_if_due(channel_);
  tell_eviction(false);
  watch(step);
  if (!is_finished_ && options_.most_tokens && ending_.n_written >= *options_.most_tokens)
    finish(Finish::kLength, "");
}

void Answer::watch(const Stream::Step& step) {
  channel_.guard.wrote(step.token, step.log_probability);
  const GuardOptions& wanted = options_.guard ? *options_.guard : hub_.options().guard;
  if (const auto trouble = channel_.guard.found(wanted))
    act(*trouble, *trouble == Trouble::kLoop ? wanted.on_loop : wanted.on_drift);
  // Not within a character, whose first bytes the new cache's stream would not have.
  if (wants_rebuild_ && !step.text.empty() && !is_finished_) rebuild();
  if (ending_.n_written % kTellMeasuresEvery != 0) return;
  tell([&](AnswerListener& listener) {
    listener.measured(channel_.guard.measures(), channel_.place);
  });
}

void Answer::act(Trouble trouble, GuardAction action) {
  hub_.count(trouble);
  Notice notice = {.trouble = trouble,
                   .action = possible(action),
                   .text = text_of(trouble, channel_.guard.measures())};
  switch (notice.action) {
    case GuardAction::kTell:
      break;
    case GuardAction::kStop:
      notice.text += "; the answer ends";
      break;
    case GuardAction::kHeat:
      notice.text += heat();
      break;
    case GuardAction::kRebuild:
      wants_rebuild_ = true;
      notice.text += fmt::format("; the cache is made anew from the {} tokens that it holds",
                                 channel_.place.pinned + channel_.place.window);
      break;
  }
  tell([&](AnswerListener& listener) { listener.noticed(notice, channel_.place); });
  if (notice.action == GuardAction::kStop) finish(Finish::kGuard, name_of(trouble));
  if (notice.action != GuardAction::kTell) channel_.guard.begin_anew();
}

// A written token, taken apart.
void Answer::take(Token token, const std::string& text) {
  std::string more = turn_ends_.push(std::exchange(half_, {}) + text);
  const bool is_mark = parser_ && hub_.vocabulary().is_control(token);
  if (is_mark) more += turn_ends_.flush();
  if (parser_) {
    take(parser_->push(more));
    if (is_mark) take(parser_->push_mark(hub_.vocabulary().piece(token)));
  } else if (!more.empty()) {
    take({{.kind = AnswerEvent::Kind::kText, .text = std::move(more)}});
  }
  if (is_thinking_) ++ending_.n_reasoning;
  if (turn_ends_.found() != nullptr) finish(Finish::kStop, "");
}

void Answer::take(std::vector<AnswerEvent> events) {
  using Kind = AnswerEvent::Kind;
  for (AnswerEvent& event : events) {
    if (is_cut_) return;
    is_thinking_ = event.kind == Kind::kReasoning;
    switch (event.kind) {
      case Kind::kText:
        event.text = stops_.push(event.text);
        if (channel_.is_chat) said_.content += event.text;
        break;
      case Kind::kReasoning:
        break;
      case Kind::kCallBegin:
        if (event.id.empty()) event.id = hub_.call_id();
        said_.tool_calls.push_back({.id = event.id, .name = event.name});
        ++ending_.n_calls;
        break;
      case Kind::kCallArguments:
        said_.tool_calls.back().arguments += event.text;
        break;
      case Kind::kCallEnd:
        is_cut_ = options_.one_call;
        if (is_cut_) finish(Finish::kStop, "");
        break;
    }
    const bool is_said = event.kind == Kind::kText || event.kind == Kind::kReasoning;
    if (!is_said || !event.text.empty()) unshown_.events.push_back(std::move(event));
    if (stops_.found() == nullptr) continue;
    said_.content += *stops_.found();  // the stream holds it
    is_cut_ = true;
    finish(Finish::kStop, *stops_.found());
  }
}

// What was held back, where no more comes.
void Answer::take_rest() {
  const std::string rest =
      turn_ends_.found() != nullptr ? "" : turn_ends_.flush() + half_ + stream().flush_text();
  if (parser_) {
    take(parser_->push(rest));
    take(parser_->finish());
  } else {
    take({{.kind = AnswerEvent::Kind::kText, .text = rest}});
  }
  if (is_cut_) return;
  if (std::string held = stops_.flush(); !held.empty()) {
    said_.content += held;
    unshown_.events.push_back({.kind = AnswerEvent::Kind::kText, .text = std::move(held)});
  }
}

void Answer::constrain() { stream().set_constraint(constraint_ ? constraint_->clone() : nullptr); }

// Nothing but an end may come.
bool Answer::has_to_end() {
  if (!constraint_ || !constraint_->is_complete()) return false;
  const std::span<const std::uint64_t> allowed = constraint_->allowed();
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    for (std::uint64_t bits = allowed[i]; bits != 0; bits &= bits - 1) {
      const auto token =
          static_cast<Token>(64 * i + static_cast<std::size_t>(std::countr_zero(bits)));
      if (!hub_.model().is_end_of_generation(token)) return false;
    }
  }
  return true;
}

void Answer::show() {
  if (!listener_) unshown_ = {};
  if (unshown_.events.empty()) {  // log probabilities come with what is shown
    if (!options_.wants_log_probabilities) unshown_.tokens.clear();
    return;
  }
  const Written written = std::exchange(unshown_, {});
  tell([&](AnswerListener& listener) { listener.wrote(written, channel_.place); });
}

void Answer::tell_eviction(bool now) {
  const Place& place = channel_.place;
  if (place.evicted == told_evicted_) return;
  if (!now && told_evicted_ > 0 && place.evicted - told_evicted_ < kTellEvictionEvery) return;
  tell([&](AnswerListener& listener) {
    listener.evicted(place.pinned + told_evicted_, place.pinned + place.evicted, place);
  });
  hub_.count_evicted(place.evicted - told_evicted_);
  told_evicted_ = place.evicted;
}

void Answer::finish(Finish how, std::string why) {
  if (is_finished_) return;
  is_finished_ = true;
  ending_.finish = how;
  ending_.why = std::move(why);
}

void Answer::ended(const std::string& failure) {
  if (!failure.empty()) {
    channel_.is_dropped |= is_rebuilding();  // its cache holds a part of what it should
    finish(Finish::kFailed, failure);
  } else if (is_cancelled_) {
    finish(Finish::kCancelled, "");
  } else {
    finish(options_.most_tokens == 0 ? Finish::kStop : Finish::kLength, "");
  }
  if (options_.most_tokens != 0) {
    take_rest();
    show();
    hub_.keep_said(channel_, said_);
  }
  stream().set_constraint(nullptr);
  tell_eviction(true);
  tell([&](AnswerListener& listener) { listener.ended(ending_, channel_.place); });
  hub_.finished(channel_);
}

}  // namespace runnel::serve
