#include "engine/machine_limits.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/large_pages.h"
#include "engine/internals.h"
#include "kernels/kernels.h"

namespace runnel {
namespace {

using Clock = std::chrono::steady_clock;

// Calls work(thread) on every thread again and again for `seconds`; the best rate of what it
// returns, per second.
template <typename Work>
double best_rate(ThreadPool& threads, double seconds, Work work) {
  double best = 0;
  const auto start = Clock::now();
  std::vector<double> done(static_cast<std::size_t>(threads.size()));
  do {
    const auto begin = Clock::now();
    threads.run(threads.size(),
                [&](int task, int) { done[static_cast<std::size_t>(task)] = work(task); });
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    double sum = 0;
    for (const double part : done) sum += part;
    best = std::max(best, sum / took);
  } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
  return best;
}

double read_rate(ThreadPool& threads, const kernels::Table& kernels, double seconds) {
  constexpr std::int64_t kBytes = std::int64_t{512} << 20;
  LargePages pages;
  std::byte* data = pages.take(kBytes);
  std::memset(data, 1, kBytes);
  const std::int64_t part = kBytes / threads.size() / 256 * 256;
  std::vector<std::int64_t> sums(static_cast<std::size_t>(threads.size()));
  return best_rate(threads, seconds, [&](int task) {
    sums[static_cast<std::size_t>(task)] = kernels.read_all(data + task * part, part);
    return static_cast<double>(part);
  });
}

double peak_rate(ThreadPool& threads, std::int64_t (*peak)(std::int64_t, float*), double seconds) {
  constexpr std::int64_t kRounds = 2'000'000;
  return best_rate(threads, seconds, [&](int) {
    float sink = 0.5f;
    return static_cast<double>(peak(kRounds, &sink));
  });
}

template <typename Visit>
void for_each_matrix_of_a_token(const Config& config, const Weights& weights, Visit visit) {
  const auto visit_ffn = [&](const FeedForward& ffn, double share) {
    for (const Linear* linear : {&ffn.gate, &ffn.up, &ffn.down}) visit(linear->weight, share);
  };
  for (const LayerWeights& layer : weights.layers) {
    for (const Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.output, &layer.router})
      visit(linear->weight, 1.0);
    visit_ffn(layer.ffn, 1);
    for (const FeedForward& expert : layer.experts) {
      visit_ffn(expert, static_cast<double>(config.n_experts_used) / config.n_experts);
    }
  }
}

}  // namespace

double measure_read_rate(const Model& model, double seconds) {
  const Model::Internals& internals = model.internals();
  const std::lock_guard lock(internals.mutex);
  return read_rate(*internals.threads, kernels::best_table(), seconds);
}

ByNumbers measure_peaks(const Model& model, double seconds) {
  const Model::Internals& internals = model.internals();
  const std::lock_guard lock(internals.mutex);
  ByNumbers rates = {};
  for (std::size_t i = 0; i < rates.size(); ++i) {
    if (const auto peak = kernels::best_table().peaks[i])
      rates[i] = peak_rate(*internals.threads, peak, seconds);
  }
  return rates;
}

TokenWork token_work(const Model& model, const StreamOptions& resolved) {
  const Model::Internals& internals = model.internals();
  const Config& config = internals.config;
  const kernels::Table& kernels = kernels::best_table();
  TokenWork work;
  const auto multiply_adds_of = [&work](kernels::Numbers numbers) -> double& {
    return work.multiply_adds[static_cast<std::size_t>(numbers)];
  };
  const auto add = [&](const Matrix& m, double share, bool is_read_only) {
    if (!m) return;
    const auto format = m.packed != nullptr ? kernels::packed_format(m.type) : std::nullopt;
    const double bytes = format
                             ? static_cast<double>(kernels::packed_group_bytes(*format, m.cols)) *
                                   static_cast<double>(kernels::n_groups(m.rows))
                             : static_cast<double>(m.row_bytes()) * static_cast<double>(m.rows);
    work.read_bytes += share * bytes;
    if (is_read_only) return;
    multiply_adds_of(kernels.numbers(m)) +=
        share * static_cast<double>(m.rows) * static_cast<double>(m.cols);
  };
  for_each_matrix_of_a_token(config, internals.weights,
                             [&](const Matrix& m, double share) { add(m, share, false); });
  add(internals.weights.output.weight, 1,
      true);  // one row of logits for a whole chunk: no work of ingestion
  const CacheShape shape = cache_shape(config, resolved);
  const double bytes_of_slot =
      static_cast<double>(KvCache::bytes_of(shape)) /
      std::max(1.0, static_cast<double>(shape.layers.size()) *
                        static_cast<double>(
                            shape.layers.front().sinks +
                            std::min<std::int64_t>(shape.layers.front().window, shape.capacity) +
                            shape.chunk));
  double& of_attention = multiply_adds_of(shape.type == KvType::kF32 ? kernels::Numbers::kFloat
                                                                     : kernels.attention_numbers);
  for (const LayerSight& sight : shape.layers) {
    const double seen =
        static_cast<double>(sight.sinks + std::min<std::int64_t>(sight.window, shape.capacity));
    work.read_bytes += bytes_of_slot * seen;
    of_attention += 2.0 * seen * config.q_dim();
  }
  return work;
}

}  // namespace runnel
