// Several streams in one step of the model: some write a token, some read a chunk.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "engine/stream_state.h"

namespace runnel {

std::vector<Stream::Step> Stream::next(std::span<Stream* const> streams) {
  std::vector<Work> work;
  for (Stream* const stream : streams) work.push_back({.stream = stream});
  return step(work);
}

namespace {

void check_work(std::span<const Stream::Work> work) {
  std::vector<const Stream*> streams;
  for (const Stream::Work& w : work) {
    if (std::count(streams.begin(), streams.end(), w.stream) > 0)
      throw Error("streams: want each once, found one twice");
    streams.push_back(w.stream);
    const auto most = static_cast<std::size_t>(w.stream->options().chunk);
    if (w.read.size() > most)
      throw Error(
          fmt::format("step: want at most {} tokens to read, found {}", most, w.read.size()));
  }
}

}  // namespace

// All that may fail, before any stream moves.
void Stream::prepare(std::span<const Work> work, int n_tokens) {
  const Model::Internals& model = work[0].stream->state_->model;
  for (const Work& w : work) {
    State& s = *w.stream->state_;
    if (&s.model != &model) throw Error("streams: want one model, found several");
    s.check(w.read);
    if (w.read.empty()) {
      s.prepare_step();
    } else if (s.options.policy != Policy::kRecompute) {
      const std::lock_guard lock(model.mutex);
      s.cache.reserve(static_cast<int>(w.read.size()));
    }
  }
  const std::lock_guard lock(model.mutex);
  model.decoder_for(n_tokens);
}

std::vector<Stream::Step> Stream::step(std::span<const Work> work) {
  check_work(work);
  std::vector<Step> steps(work.size());
  if (work.empty()) return steps;
  const int n_most = std::accumulate(work.begin(), work.end(), 0, [](int n, const Work& w) {
    return n + std::max(1, static_cast<int>(w.read.size()));
  });
  prepare(work, n_most);
  std::vector<std::size_t> together;  // whose tokens pass the model in the common step
  std::vector<Segment> batch;
  for (std::size_t i = 0; i < work.size(); ++i) {
    State& s = *work[i].stream->state_;
    const bool writes = work[i].read.empty();
    if (writes) steps[i] = s.step_of(s.sample());
    const std::span<const Token> tokens =
        writes ? std::span<const Token>(&steps[i].token, 1) : work[i].read;
    if (s.options.policy == Policy::kRecompute) {
      s.feed_recomputed(tokens);
    } else if (!writes || !s.take_ahead(steps[i].token)) {
      s.ahead.clear();
      together.push_back(i);
      batch.push_back({&s.cache, tokens, *s.options.softmax, Segment::Logits::kLast});
    }
    if (!writes && s.detokenizer) s.detokenizer->restore({.pending = {}, .at_start = false});
  }
  if (together.empty()) return steps;
  const Model::Internals& model = work[0].stream->state_->model;
  const std::lock_guard lock(model.mutex);
  model.decoder_for(n_most).step(
      batch, [&](std::size_t segment, std::size_t, std::span<const float> scores) {
        work[together[segment]].stream->state_->keep(scores);
      });
  for (std::size_t i = 0; i < batch.size(); ++i) {
    TokenHistory& history = work[together[i]].stream->state_->history;
    for (const Token token : batch[i].tokens) history.push(token);
  }
  return steps;
}

}  // namespace runnel
