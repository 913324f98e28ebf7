#include "serve/hub/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/internals.h"
#include "serve/hub/channel.h"
#include "serve/hub/hub.h"
#include "serve/log.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kTellEvictionEvery = 64;  // tokens

}  // namespace

Answer::Answer(Hub& hub, Channel& channel, AnswerOptions options,
               std::shared_ptr<AnswerListener> listener)
    : hub_(hub),
      channel_(channel),
      options_(std::move(options)),
      listener_(std::move(listener)),
      text_({.stops = options_.stops,
             .turn_ends = options_.turn_ends,
             .form = options_.form,
             .one_call = options_.one_call,
             .keeps_text = channel.is_chat,
             .begun = options_.begun,
             .id = [&hub] { return hub.call_id(); }},
            hub.vocabulary()) {}

void Answer::tell(const std::function<void(AnswerListener&)>& call) {
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
  text_.keep_half(detokenizer.flush());
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
  const bool is_all_shown =
      step.text == hub_.model().token_text(step.token) && !constraint_ && text_.holds_nothing();
  if (is_all_shown && !step.text.empty()) hub_.checkpoint_if_due(channel_);
  tell_eviction(false);
  watch(step);
  if (!is_finished_ && options_.most_tokens && ending_.n_written >= *options_.most_tokens)
    finish(Finish::kLength, "");
}

void Answer::take(Token token, const std::string& text) {
  add(text_.push(token, text));
  if (text_.is_thinking()) ++ending_.n_reasoning;
  if (text_.is_ended()) finish(Finish::kStop, text_.stop_text());
}

void Answer::add(std::vector<AnswerEvent> events) {
  std::move(events.begin(), events.end(), std::back_inserter(unshown_.events));
}

void Answer::constrain() { stream().set_constraint(constraint_ ? constraint_->clone() : nullptr); }

// Nothing but an end may come.
bool Answer::has_to_end() {
  return constraint_ && constraint_->is_complete() && !hub_.may_go_on(constraint_->allowed());
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
    add(text_.flush(stream().flush_text()));
    ending_.n_calls = static_cast<int>(text_.said().tool_calls.size());
    show();
    hub_.keep_said(channel_, text_.said());
  }
  stream().set_constraint(nullptr);
  tell_eviction(true);
  tell([&](AnswerListener& listener) { listener.ended(ending_, channel_.place); });
  hub_.finished(channel_);
}

}  // namespace runnel::serve
