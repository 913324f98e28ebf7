#include "engine/machine_limits.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/internals.h"
#include "kernels/kernels.h"
#include "kernels/pack/packed.h"

namespace runnel {
namespace {

using Clock = std::chrono::steady_clock;

// What work(thread) returned on all threads together, per second.
template <typename Work>
double rate_of(ThreadPool& threads, Work work) {
  std::vector<double> done(static_cast<std::size_t>(threads.size()));
  const auto begin = Clock::now();
  threads.run(threads.size(),
              [&](int task, int) { done[static_cast<std::size_t>(task)] = work(task); });
  const std::chrono::duration<double> took = Clock::now() - begin;
  return std::accumulate(done.begin(), done.end(), 0.0) / took.count();
}

// visit(matrix, share that a token uses, whether logits alone need it): of the last layer, a token
// that is only read passes no more than queries, keys and values.
template <typename Visit>
void for_each_matrix_of_a_token(const Config& config, const Weights& weights, Visit visit) {
  for (const LayerWeights& layer : weights.layers) {
    const bool is_last = &layer == &weights.layers.back();
    const auto visit_ffn = [&](const FeedForward& ffn, double share) {
      for (const Linear* linear : {&ffn.gate, &ffn.up, &ffn.down})
        visit(linear->weight, share, is_last);
    };
    for (const Linear* linear : {&layer.k, &layer.v, &layer.q}) visit(linear->weight, 1.0, false);
    for (const Linear* linear :
         {&layer.output, &layer.router, &layer.input.gate, &layer.input.output})
      visit(linear->weight, 1.0, is_last);
    visit_ffn(layer.ffn, 1);
    for (const FeedForward& expert : layer.experts) {
      visit_ffn(expert, static_cast<double>(config.n_experts_used) / config.n_experts);
    }
  }
  visit(weights.layer_inputs.projection.weight, 1.0, false);
  visit(weights.output.weight, 1.0, true);
}

}  // namespace

MemoryReader::MemoryReader(const Model& model) : model_(model), data_(pages_.take(kBytes)) {
  std::memset(data_, 1, kBytes);
}

double MemoryReader::rate() {
  const Model::Internals& internals = model_.internals();
  const std::lock_guard lock(internals.mutex);
  const std::int64_t part = kBytes / internals.threads->size() / 256 * 256;
  std::vector<std::int64_t> sums(static_cast<std::size_t>(internals.threads->size()));
  return rate_of(*internals.threads, [&](int task) {
    sums[static_cast<std::size_t>(task)] =
        kernels::best_table().read_all(data_ + task * part, part);
    return static_cast<double>(part);
  });
}

Peaks measure_peaks(const Model& model, double seconds) {
  constexpr std::int64_t kRounds = 2'000'000;
  const Model::Internals& internals = model.internals();
  const std::lock_guard lock(internals.mutex);
  Peaks peaks;
  if (internals.device != nullptr) {
    const DevicePeaks of_device = internals.device->peaks();
    peaks.numbers[static_cast<std::size_t>(kernels::Numbers::kInt8)] = of_device.int8;
    peaks.numbers[static_cast<std::size_t>(kernels::Numbers::kFloat)] = of_device.floats;
    return peaks;
  }
  const auto best_of = [&](auto peak) {  // peak(sink)
    double best = 0;
    const auto start = Clock::now();
    do {
      best = std::max(best, rate_of(*internals.threads, [&](int) {
                        float sink = 0.5f;
                        return static_cast<double>(peak(&sink));
                      }));
    } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
    return best;
  };
  const kernels::Table& table = kernels::best_table();
  for (std::size_t i = 0; i < peaks.numbers.size(); ++i) {
    if (const auto peak = table.peaks[i]; peak != nullptr)
      peaks.numbers[i] = best_of([&](float* sink) { return peak(kRounds, sink); });
  }
  for_each_matrix_of_a_token(internals.config, internals.weights, [&](const Matrix& m, auto...) {
    if (!m || table.numbers(m) != kernels::Numbers::kInt8 || peaks.types.contains(m.type)) return;
    peaks.types[m.type] =
        best_of([&](float* sink) { return table.packed_peak(m.type, kRounds, sink); });
  });
  return peaks;
}

double read_bytes(const Matrix& m) {
  if (m.packed == nullptr) return static_cast<double>(m.row_bytes()) * static_cast<double>(m.rows);
  return static_cast<double>(kernels::best_table().packed_bytes(m.type, m.cols)) *
         static_cast<double>(kernels::n_groups(m.rows));
}

double TokenWork::least_seconds(const Peaks& peaks) const {
  double seconds = 0;
  const auto add = [&seconds](double work, double rate) {
    if (rate > 0) seconds += work / rate;
  };
  double of_types = 0;
  for (const auto& [type, rate] : peaks.types) {
    const auto work = int8_multiply_adds.find(type);
    if (work == int8_multiply_adds.end()) continue;
    add(work->second, rate);
    of_types += work->second;
  }
  for (std::size_t i = 0; i < multiply_adds.size(); ++i) {
    const bool is_int8 = i == static_cast<std::size_t>(kernels::Numbers::kInt8);
    add(multiply_adds[i] - (is_int8 ? of_types : 0), peaks.numbers[i]);
  }
  return seconds;
}

TokenWork token_work(const Model& model, const StreamOptions& resolved) {
  const Model::Internals& internals = model.internals();
  const Config& config = internals.config;
  const kernels::Table& kernels = kernels::best_table();
  TokenWork work;
  const auto multiply_adds_of = [&work](kernels::Numbers numbers) -> double& {
    return work.multiply_adds[static_cast<std::size_t>(numbers)];
  };
  const auto add = [&](const Matrix& m, double share, bool is_for_logits) {
    if (!m) return;
    work.read_bytes += share * read_bytes(m);
    if (is_for_logits) return;
    const kernels::Numbers on_device =
        kernels::packed_format(m.type) ? kernels::Numbers::kInt8 : kernels::Numbers::kFloat;
    const kernels::Numbers numbers = internals.device != nullptr ? on_device : kernels.numbers(m);
    const double n = share * static_cast<double>(m.rows) * static_cast<double>(m.cols);
    multiply_adds_of(numbers) += n;
    if (numbers == kernels::Numbers::kInt8) work.int8_multiply_adds[m.type] += n;
  };
  for_each_matrix_of_a_token(config, internals.weights, add);
  const CacheShape shape = cache_shape(internals, resolved);
  double n_slots = 0;
  for (const LayerSight& sight : shape.layers) {
    n_slots += static_cast<double>(
        sight.sinks + std::min<std::int64_t>(sight.window, shape.capacity) + shape.chunk);
  }
  const double bytes_of_slot =
      static_cast<double>(KvCache::bytes_of(shape)) / std::max(1.0, n_slots);
  const bool is_float = shape.type == KvType::kF32 || internals.device != nullptr;
  double& of_attention =
      multiply_adds_of(is_float ? kernels::Numbers::kFloat : kernels.attention_numbers);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const LayerSight& sight = shape.layers[static_cast<std::size_t>(layer)];
    const double seen =
        static_cast<double>(sight.sinks + std::min<std::int64_t>(sight.window, shape.capacity));
    work.read_bytes += bytes_of_slot * seen;
    if (layer + 1 < config.n_layers) of_attention += 2.0 * seen * config.heads(layer).q_dim();
  }
  return work;
}

}  // namespace runnel
