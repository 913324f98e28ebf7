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

// A token for each stream that writes, all chosen together.
void Stream::State::write_tokens(std::span<const Work> work, int n_tokens, std::span<Step> steps) {
  std::vector<Choice> choices;
  std::vector<std::size_t> writers;
  for (std::size_t i = 0; i < work.size(); ++i) {
    if (!work[i].read.empty()) continue;
    choices.push_back(work[i].stream->state_->choice());
    writers.push_back(i);
  }
  std::vector<Chosen> chosen(choices.size());
  const Model::Internals& model = work[0].stream->state_->model;
  {
    const std::lock_guard lock(model.mutex);
    model.decoder_for(n_tokens).sample(choices, chosen);
  }
  for (std::size_t i = 0; i < writers.size(); ++i) {
    State& s = *work[writers[i]].stream->state_;
    steps[writers[i]] = s.step_of(chosen[i]);
    if (s.constraint) s.constraint->accept(chosen[i].token);
  }
}

std::vector<Stream::Step> Stream::step(std::span<const Work> work) {
  check_work(work);
  std::vector<Step> steps(work.size());
  if (work.empty()) return steps;
  const int n_most = std::accumulate(work.begin(), work.end(), 0, [](int n, const Work& w) {
    return n + std::max(1, static_cast<int>(w.read.size()));
  });
  prepare(work, n_most);
  State::write_tokens(work, n_most, steps);
  std::vector<std::size_t> together;  // whose tokens pass the model in the common step
  std::vector<Segment> batch;
  for (std::size_t i = 0; i < work.size(); ++i) {
    State& s = *work[i].stream->state_;
    const bool writes = work[i].read.empty();
    const std::span<const Token> tokens =
        writes ? std::span<const Token>(&steps[i].token, 1) : work[i].read;
    if (s.options.policy == Policy::kRecompute) {
      const std::lock_guard lock(s.model.mutex);
      s.run(tokens);
    } else if (!writes || !s.take_ahead(steps[i].token)) {
      s.ahead.clear();
      together.push_back(i);
      batch.push_back(s.segment(tokens, Segment::Logits::kLast));
    }
    if (!writes && s.detokenizer) s.detokenizer->restore({.pending = {}, .at_start = false});
  }
  if (together.empty()) return steps;
  const Model::Internals& model = work[0].stream->state_->model;
  const std::lock_guard lock(model.mutex);
  model.decoder_for(n_most).step(batch, {});
  for (std::size_t i = 0; i < batch.size(); ++i) {
    work[together[i]].stream->state_->passed(batch[i]);
  }
  return steps;
}

}  // namespace runnel
