// What an answer does about what the guard finds.
#include <fmt/format.h>

#include <algorithm>

#include "serve/hub/answer.h"
#include "serve/hub/channel.h"
#include "serve/hub/hub.h"

namespace runnel::serve {
// How much of its attention the last token gave the sinks: it passes the model once more.
void Answer::look_at_attention() {
  constexpr auto kEvery = static_cast<std::int64_t>(Guard::kLookAtAttentionEvery);
  if (ending_.n_written % kEvery != kEvery - 1) return;
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
