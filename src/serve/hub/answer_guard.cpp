// What an answer does about what the guard finds.
#include <fmt/format.h>

#include <algorithm>

#include "serve/hub/answer.h"
#include "serve/hub/channel.h"
#include "serve/hub/hub.h"

namespace runnel::serve {
namespace {

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

// How much of its attention the last token gave the sinks: it passes the model once more.
void Answer::look_at_attention() {
  constexpr auto kEvery = static_cast<std::int64_t>(Guard::kLookAtAttentionEvery);
  if (channel_.place.position % kEvery != kEvery - 1) return;  // however short the answers
  if (stream().options().policy != Policy::kSink || options_.resumed) return;
  const Stream::Attention seen = stream().attention(1);
  const std::size_t n = seen.positions.size();
  const std::int64_t end_of_sinks = stream().options().start_position + stream().options().sinks;
  double on_sinks = 0, all = 0;
  for (std::size_t i = 0; i < seen.weights.size(); ++i) {
    const double weight = static_cast<double>(seen.weights[i]);
    all += weight;
    if (seen.positions[i % n] < end_of_sinks) on_sinks += weight;
  }
  if (all > 0) channel_.guard.saw_sink_share(on_sinks / all);
}

// A cache that has evicted nothing would come out the same; and a trouble that comes back within a
// window was not the cache's.
GuardAction Answer::possible(GuardAction action) const {
  if (action != GuardAction::kRebuild) return action;
  const StreamOptions& options = channel_.stream->options();
  const bool keeps_to_window = options.policy == Policy::kSink || options.policy == Policy::kWindow;
  const bool was_rebuilt =
      rebuilt_at_ >= 0 && channel_.place.position - rebuilt_at_ < channel_.place.window;
  const bool can = keeps_to_window && channel_.stream->evicted() > 0 && !was_rebuilt;
  return can ? action : GuardAction::kTell;
}

std::string Answer::heat() {
  SamplingOptions sampling = stream().options().sampling;
  sampling.temperature = std::min(2.0f, std::max(1.0f, 1.5f * sampling.temperature));
  sampling.repetition_penalty = std::max(1.1f, sampling.repetition_penalty);
  stream().set_sampling(sampling);
  return fmt::format("; the temperature is now {:.2f}", sampling.temperature);
}

// Another stream in the place of this one reads what this one still sees, and then stands where
// this one stands. It takes the steps of a reader, among those of all others.
void Answer::rebuild() {
  wants_rebuild_ = false;
  rebuilt_at_ = stream().position();
  std::vector<Token> seen = stream().visible_tokens();
  StreamOptions options = stream().options();
  options.pin.clear();
  options.pin_tokens.clear();
  options.start_position = stream().position() - std::ssize(seen);
  options.sampling.seed =
      seed_after(seed_, ending_.n_written - n_written_before_, options.sampling.temperature);
  *channel_.stream = hub_.model().open(options);
  again_ = std::move(seen);
  n_again_ = 0;
}

void Answer::rebuilt(std::size_t n_tokens) {
  n_again_ += n_tokens;
  if (is_rebuilding()) return;
  constrain();
  channel_.place = Place::of(stream());
  hub_.rebuilt(channel_);
}

}  // namespace runnel::serve
