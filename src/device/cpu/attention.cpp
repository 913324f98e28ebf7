// Attention: rotation, the cache, and the tasks of the kernel.
#include <algorithm>
#include <cmath>

#include "device/cpu/cpu_operations.h"
#include "device/cpu/rotate.h"
#include "kernels/attention/hadamard.h"

namespace runnel::cpu {

// Cuts the queries of each segment and KV head into tasks of a few rows, so that a tile of keys
// widened once serves them all.
void CpuOperations::cut_attention(const AttentionLayer& layer) {
  constexpr int kDecodeQueryRows = 8;
  const AttentionCut cut = {layer.n_heads, layer.n_kv_heads};
  if (cut == attention_cut_) return;
  attention_cut_ = cut;
  attention_tasks_.clear();
  const int group = layer.n_heads / layer.n_kv_heads;
  for (const auto& [first, n] : segments_) {
    const int most = n == 1 ? kDecodeQueryRows : kernels_.query_rows;
    const int heads = std::min(group, most);
    const int tokens = std::max(1, most / heads);
    for (int kv_head = 0; kv_head < layer.n_kv_heads; ++kv_head) {
      for (int head = 0; head < group; head += heads) {
        for (int t = 0; t < n; t += tokens) {
          attention_tasks_.push_back({first + t, std::min(tokens, n - t), kv_head,
                                      kv_head * group + head, std::min(heads, group - head)});
        }
      }
    }
  }
}

void CpuOperations::rotate_and_store(const AttentionLayer& layer, Rows q, Rows k, Rows v) {
  const bool is_in_order = std::any_of(
      step_.rows.begin(), step_.rows.end(),
      [&](const StepRow& row) { return row.cache->makes_means(layer.cache_layer, row.position); });
  newest_rings_.take(layer);
  if (is_in_order) {
    for (int row = 0; row < n_rows(); ++row) finish_row(layer, row, q, k, v);
  } else {
    threads_.run(n_rows(), [&](int row, int) { finish_row(layer, row, q, k, v); });
  }
  newest_rings_.carry(layer, threads_);
  done(StepPart::kRotate);
}

// Finishes one token's queries, key and value, and writes key and value to the cache.
void CpuOperations::finish_row(const AttentionLayer& layer, int row, Rows q_rows, Rows k_rows,
                               Rows v_rows) {
  const AngleTable& angles = step_.angles[size(layer.angles)];
  const std::size_t angle = size(row) * size(angles.n_pairs);
  const StepRow& token = step_.rows[size(row)];
  const int head_dim = layer.head_dim;
  float* q = at(q_rows, row);
  float* sink_q = &sink_q_[size(row) * size(sizes_.q_dim)];
  const bool has_keys = layer.has_keys;
  float* k = has_keys ? at(k_rows, row) : nullptr;
  float* v = has_keys ? at(v_rows, row) : nullptr;
  if (has_keys && !layer.has_values) std::copy_n(k, v_rows.width, v);
  if (layer.clamp > 0) {
    const auto clamp = [&](float* x, int n) {
      for (int i = 0; i < n; ++i) x[i] = std::clamp(x[i], -layer.clamp, layer.clamp);
    };
    clamp(q, q_rows.width);
    if (has_keys) clamp(k, k_rows.width), clamp(v, v_rows.width);
  }
  const auto normalize_with = [&](const NormWeights* norm, float* x, int n) {
    if (norm == nullptr) return;
    const float* weight = layer.rotated_weights.empty() ? norm->weight.data() : nullptr;
    kernels_.rms_norm(x, weight, layer.norm_epsilon, x, n);
  };
  if (layer.normalizes_all_heads) {
    normalize_with(layer.q_norm, q, q_rows.width);
    if (has_keys) normalize_with(layer.k_norm, k, k_rows.width);
  }
  for (int head = 0; head < layer.n_heads; ++head) {
    if (!layer.normalizes_all_heads) normalize_with(layer.q_norm, q + head * head_dim, head_dim);
    finish_query(layer, row, q + head * head_dim, sink_q + head * head_dim);
  }
  for (int head = 0; has_keys && head < layer.n_kv_heads; ++head) {
    float* key = k + head * head_dim;
    float* value = v + head * head_dim;
    if (!layer.normalizes_all_heads) normalize_with(layer.k_norm, key, head_dim);
    if (layer.rope != RopeStyle::kNone)
      rotate(layer.rope, angles.n_pairs, angles.cosines + angle, angles.sines + angle, key);
    if (layer.normalizes_values)
      kernels_.rms_norm(value, nullptr, layer.norm_epsilon, value, head_dim);
    const bool has_newest = token.cache->has_newest();
    const kernels::KvArea newest =
        has_newest ? newest_rings_.of(*token.cache, layer, head) : kernels::KvArea{};
    token.cache->store(layer.cache_layer, head, token.position, key, value,
                       {angles.cosines + angle, angles.sines + angle},
                       has_newest ? &newest : nullptr);
  }
}

// Rotates a normalised query, for the window and, where that is another rotation, for the sinks.
void CpuOperations::finish_query(const AttentionLayer& layer, int row, float* query,
                                 float* sink_query) const {
  const AngleTable& angles = step_.angles[size(layer.angles)];
  const std::size_t angle = size(row) * size(angles.n_pairs);
  const StepRow& token = step_.rows[size(row)];
  const bool is_shifted = token.cache_position != token.position;
  if (token.query_scale != 1)
    for (int i = 0; i < layer.head_dim; ++i) query[i] *= token.query_scale;
  if (layer.rope == RopeStyle::kNone) return;
  if (is_shifted) std::copy_n(query, layer.head_dim, sink_query);
  if (!layer.rotated_weights.empty()) {
    rotate_with_weights(layer, angles, angle, is_shifted, query, sink_query);
    return;
  }
  if (is_shifted) {
    rotate(layer.rope, angles.n_pairs, angles.sink_cosines + angle, angles.sink_sines + angle,
           sink_query);
  }
  rotate(layer.rope, angles.n_pairs, angles.cosines + angle, angles.sines + angle, query);
}

void CpuOperations::attend(const AttentionLayer& layer, Rows q, const Residual& residual) {
  cut_attention(layer);
  const kernels::Matmul output =
      with_parts(product_of(*layer.output, heads_.data(), n_rows(), update_.data()), layer.head_dim,
                 inputs_.get());
  threads_.run(static_cast<int>(attention_tasks_.size()),
               [&](int i, int thread) { attend_task(layer, size(i), q, output, thread); });
  done(StepPart::kAttend);
  multiply(std::array{output});
  done(StepPart::kAttendOutput);
  add(residual, update_.data());
}

// What the kernel is asked for.
kernels::Attention CpuOperations::attention_of(const AttentionLayer& layer,
                                               const AttentionTask& task) const {
  const StepRow& first = step_.rows[size(task.first_row)];
  const StepRow& last = step_.rows[size(task.first_row + task.n_rows - 1)];
  const LayerSight& sight = first.cache->sight(layer.cache_layer);
  const std::int64_t oldest_tile = sight.oldest(first.position) / kernels::kTile;
  return {.head_dim = layer.head_dim,
          .sinks = first.cache->sinks(layer.cache_layer, task.kv_head),
          .ring = first.cache->ring(layer.cache_layer, task.kv_head),
          .n_sinks = static_cast<int>(std::min<std::int64_t>(sight.sinks, last.position + 1)),
          .window = sight.window,
          .sink_reach = sight.sink_reach,
          .first = sight.sinks,
          .oldest_tile = oldest_tile,
          // While all rows are sinks the ring holds nothing.
          .newest_tile = std::max(last.position / kernels::kTile, oldest_tile - 1),
          .scale = layer.scale,
          .softcap = layer.softcap};
}

void CpuOperations::attend_task(const AttentionLayer& layer, std::size_t index, Rows q,
                                const kernels::Matmul& output, int thread) {
  const AttentionTask& task = attention_tasks_[index];
  kernels::Attention attention = attention_of(layer, task);
  kernels::Attention next;
  if (index + 1 < attention_tasks_.size()) {
    next = attention_of(layer, attention_tasks_[index + 1]);
    attention.next = &next;
  }
  kernels::QueryRow rows[kernels::kMaxQueryRows];
  int n = 0;
  for (int r = task.first_row; r < task.first_row + task.n_rows; ++r) {
    const StepRow& row = step_.rows[size(r)];
    const bool is_rotated_twice =
        row.cache_position != row.position && layer.rope != RopeStyle::kNone;
    for (int head = task.first_head; head < task.first_head + task.n_heads; ++head) {
      const std::int64_t of_head = std::int64_t{head} * layer.head_dim;
      float sink_logit = row.sink_logit;
      if (!layer.sink_logits.empty()) {  // -inf adds nothing to it
        const float both[] = {sink_logit, layer.sink_logits[size(head)]};
        sink_logit = kernels_.log_sum_exp(both, 2);
      }
      const float* query = at(q, r) + of_head;
      rows[n++] = {.query = query,
                   .sink_query = is_rotated_twice
                                     ? &sink_q_[size(r) * size(sizes_.q_dim) + size(of_head)]
                                     : query,
                   .out = &heads_[size(r) * size(q.width) + size(of_head)],
                   .position = row.position,
                   .cache_position = row.cache_position,
                   .bias_slope = layer.alibi_slopes.empty() ? 0.0f : layer.alibi_slopes[size(head)],
                   .sink_logit = sink_logit};
    }
  }
  const KvCache& cache = *step_.rows[size(task.first_row)].cache;
  const bool is_rotated = cache.is_rotated();
  if (is_rotated) turn_queries(layer, task, attention, {rows, size(n)}, thread);
  if (visitor_) {
    Vector& study = study_[size(thread)];
    study.resize(size(attention.n_weights() * n));
    for (int i = 0; i < n; ++i) rows[i].weights = study.data() + attention.n_weights() * i;
  }
  if (cache.has_newest()) {
    attend_newest_apart(layer, task, attention, {rows, size(n)}, thread);
  } else {
    kernels_.attend(attention, rows, n, scratch_of(thread));
  }
  for (int i = 0; is_rotated && i < n; ++i) kernels::hadamard(rows[i].out, layer.head_dim);
  if (layer.gate.id >= 0) gate_heads(layer, task);
  for (int r = task.first_row; r < task.first_row + task.n_rows; ++r) {
    prepare_part(output, r, std::int64_t{task.first_head} * layer.head_dim,
                 std::int64_t{task.first_head + task.n_heads} * layer.head_dim);
  }
  if (visitor_) report_attention(layer, task, {rows, size(n)}, attention);
}

// For a rotated cache: queries are rotated likewise, and go on with what they multiply angles with.
void CpuOperations::turn_queries(const AttentionLayer& layer, const AttentionTask& task,
                                 kernels::Attention& attention, std::span<kernels::QueryRow> rows,
                                 int thread) {
  const KvCache& cache = *step_.rows[size(task.first_row)].cache;
  const float* mean = cache.mean(layer.cache_layer, task.kv_head);
  const std::size_t head_dim = size(layer.head_dim);
  attention.angles = cache.angles(layer.cache_layer);
  attention.n_angles = cache.n_angles(layer.cache_layer);
  float* query = turned_[size(thread)].data();
  for (kernels::QueryRow& row : rows) {
    float* sink_query = query + head_dim + size(attention.n_angles);
    project_on_angles(cache.rotation(layer.cache_layer), mean, {row.query, head_dim},
                      query + head_dim);
    std::copy_n(row.query, head_dim, query);
    std::copy_n(row.sink_query, head_dim, sink_query);
    const std::span<const float> factors = cache.balance(layer.cache_layer, task.kv_head);
    for (std::size_t d = 0; d < factors.size(); ++d) query[d] /= factors[d];
    kernels::hadamard(query, layer.head_dim);
    kernels::hadamard(sink_query, layer.head_dim);
    row.query = query;
    row.sink_query = sink_query;
    query = sink_query + head_dim;
  }
}

void CpuOperations::split_gates(const AttentionLayer& layer, Rows both, Rows q) {
  threads_.run(n_rows(), [&](int row, int) {
    for (int head = 0; head < layer.n_heads; ++head) {
      const int head_dim = layer.head_dim;
      const float* from = at(both, row) + 2 * head * head_dim;
      std::copy_n(from, head_dim, at(q, row) + head * head_dim);
      std::copy_n(from + head_dim, head_dim, at(layer.gate, row) + head * head_dim);
    }
  });
}

void CpuOperations::gate_heads(const AttentionLayer& layer, const AttentionTask& task) {
  const std::size_t begin = size(task.first_head) * size(layer.head_dim);
  const std::size_t end = begin + size(task.n_heads) * size(layer.head_dim);
  for (int row = task.first_row; row < task.first_row + task.n_rows; ++row) {
    const float* gate = at(layer.gate, row);
    float* heads = &heads_[size(row) * size(layer.gate.width)];
    for (std::size_t i = begin; i < end; ++i) heads[i] *= 1 / (1 + std::exp(-gate[i]));
  }
}

void CpuOperations::report_attention(const AttentionLayer& layer, const AttentionTask& task,
                                     std::span<const kernels::QueryRow> rows,
                                     const kernels::Attention& attention) const {
  const std::int64_t n_sink_weights = attention.n_sink_tiles() * kernels::kTile;
  const std::size_t n_window_weights = size(attention.n_window_tiles() * kernels::kTile);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const StepRow& row = step_.rows[size(task.first_row) + i / size(task.n_heads)];
    const StepRow& first_of_segment =
        *std::find_if(step_.rows.begin(), step_.rows.end(),
                      [&](const StepRow& r) { return r.segment == row.segment; });
    visitor_({.segment = row.segment,
              .token = size(row.position - first_of_segment.position),
              .layer = layer.layer,
              .head = task.first_head + static_cast<int>(i) % task.n_heads,
              .sinks = {rows[i].weights, size(attention.n_sinks)},
              .first_position = attention.oldest_tile * kernels::kTile,
              .window = {rows[i].weights + n_sink_weights, n_window_weights}});
  }
}

}  // namespace runnel::cpu
