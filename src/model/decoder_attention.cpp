// Attention of one layer: queries, keys and values, their rotation, the cache, and the tasks of the
// kernel.
#include <algorithm>
#include <array>
#include <cmath>

#include "model/decoder_buffers.h"

namespace runnel {

void Decoder::attention(int index, const float* input, float* out) {
  const LayerWeights& w = weights_.layers[size(index)];
  Buffers& b = *buffers_;
  multiply(std::array{product_of(w.q, input, n_rows(), b.q.data()),
                      product_of(w.k, input, n_rows(), b.k.data()),
                      product_of(w.v, input, n_rows(), b.v.data())});
  threads_.run(n_rows(), [&](int row, int) { rotate_and_store(index, row); });
  if (index + 1 == config_.n_layers && !attention_visitor_) keep_wanted_rows();
  if (b.rows.empty()) return;
  const kernels::Matmul output = with_parts(product_of(w.output, b.heads.data(), n_rows(), out),
                                            config_.head_dim, b.inputs.get());
  threads_.run(static_cast<int>(b.attention_tasks.size()), [&](int i, int thread) {
    attend(b.attention_tasks[size(i)], index, output, thread);
  });
  multiply(std::array{output});
}

// Finishes one token's queries, key and value, and writes key and value to the cache.
void Decoder::rotate_and_store(int index, int row) {
  const LayerWeights& w = weights_.layers[size(index)];
  const Config& c = config_;
  Buffers& b = *buffers_;
  const Rope& rope = c.local_window(index) > 0 ? c.local_rope : c.rope;
  const Angles& angles = c.local_window(index) > 0 ? b.local_angles : b.angles;
  const std::size_t at = size(row) * size(rope.n_pairs());
  const Row& token = b.rows[size(row)];
  float* q = &b.q[size(row) * size(c.q_dim())];
  float* sink_q = &b.sink_q[size(row) * size(c.q_dim())];
  float* k = &b.k[size(row) * size(c.kv_dim())];
  float* v = &b.v[size(row) * size(c.kv_dim())];
  if (c.qkv_clamp > 0) {
    for (int i = 0; i < c.q_dim(); ++i) q[i] = std::clamp(q[i], -c.qkv_clamp, c.qkv_clamp);
    for (int i = 0; i < c.kv_dim(); ++i) k[i] = std::clamp(k[i], -c.qkv_clamp, c.qkv_clamp);
    for (int i = 0; i < c.kv_dim(); ++i) v[i] = std::clamp(v[i], -c.qkv_clamp, c.qkv_clamp);
  }
  for (int head = 0; head < c.n_heads; ++head) {
    float* query = q + head * c.head_dim;
    if (w.q_norm)
      kernels_.rms_norm(query, w.q_norm.weight.data(), c.norm_epsilon, query, c.head_dim);
    if (rope.style == RopeStyle::kNone) continue;
    if (token.cache_position != token.position) {
      float* sink_query = sink_q + head * c.head_dim;
      std::copy_n(query, c.head_dim, sink_query);
      rotate(rope, &angles.sink_cosines[at], &angles.sink_sines[at], sink_query);
    }
    rotate(rope, &angles.cosines[at], &angles.sines[at], query);
  }
  for (int head = 0; head < c.n_kv_heads; ++head) {
    float* key = k + head * c.head_dim;
    if (w.k_norm) kernels_.rms_norm(key, w.k_norm.weight.data(), c.norm_epsilon, key, c.head_dim);
    if (rope.style != RopeStyle::kNone) rotate(rope, &angles.cosines[at], &angles.sines[at], key);
    token.cache->store(index, head, token.position, key, v + head * c.head_dim);
  }
}

void Decoder::attend(const AttentionTask& task, int index, const kernels::Matmul& output,
                     int thread) {
  const Config& c = config_;
  Buffers& b = *buffers_;
  const LayerWeights& w = weights_.layers[size(index)];
  const Row& first = b.rows[size(task.first_row)];
  const Row& last = b.rows[size(task.first_row + task.n_rows - 1)];
  const LayerSight& sight = first.cache->sight(index);
  const std::int64_t oldest_tile = sight.oldest(first.position) / kernels::kTile;
  const kernels::Attention attention = {
      .format = first.cache->format(),
      .head_dim = c.head_dim,
      .sinks = first.cache->sinks(index, task.kv_head),
      .ring = first.cache->ring(index, task.kv_head),
      .n_sinks = static_cast<int>(std::min<std::int64_t>(sight.sinks, last.position + 1)),
      .window = sight.window,
      .sink_reach = sight.sink_reach,
      .first = sight.sinks,
      .oldest_tile = oldest_tile,
      // While all rows are sinks the ring holds nothing.
      .newest_tile = std::max(last.position / kernels::kTile, oldest_tile - 1),
      .scale = c.attention_scale > 0 ? c.attention_scale
                                     : 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
      .softcap = c.attention_softcap};
  kernels::QueryRow rows[kernels::kMaxQueryRows];
  int n = 0;
  for (int r = task.first_row; r < task.first_row + task.n_rows; ++r) {
    const Row& row = b.rows[size(r)];
    const bool is_rotated_twice =
        row.cache_position != row.position && c.rope.style != RopeStyle::kNone;
    for (int head = task.first_head; head < task.first_head + task.n_heads; ++head) {
      const std::size_t at = size(r) * size(c.q_dim()) + size(head) * size(c.head_dim);
      float sink_logit = row.sink_logit;
      if (!w.sink_logits.empty()) {  // -inf adds nothing to it
        const float both[] = {sink_logit, w.sink_logits[size(head)]};
        sink_logit = kernels_.log_sum_exp(both, 2);
      }
      rows[n++] = {.query = &b.q[at],
                   .sink_query = is_rotated_twice ? &b.sink_q[at] : &b.q[at],
                   .out = &b.heads[at],
                   .position = row.position,
                   .cache_position = row.cache_position,
                   .bias_slope = b.alibi_slopes.empty() ? 0.0f : b.alibi_slopes[size(head)],
                   .sink_logit = sink_logit};
    }
  }
  if (attention_visitor_) {
    Vector& study = b.study[size(thread)];
    study.resize(size(attention.n_weights() * n));
    for (int i = 0; i < n; ++i) rows[i].weights = study.data() + attention.n_weights() * i;
  }
  kernels_.attend(attention, rows, n, b.scratch_of(thread));
  for (int r = task.first_row; r < task.first_row + task.n_rows; ++r) {
    prepare_part(output, r, std::int64_t{task.first_head} * c.head_dim,
                 std::int64_t{task.first_head + task.n_heads} * c.head_dim);
  }
  if (attention_visitor_) report_attention(task, index, {rows, size(n)}, attention);
}

void Decoder::report_attention(const AttentionTask& task, int index,
                               std::span<const kernels::QueryRow> rows,
                               const kernels::Attention& attention) const {
  const Buffers& b = *buffers_;
  const std::int64_t n_sink_weights = attention.n_sink_tiles() * kernels::kTile;
  const std::size_t n_window_weights = size(attention.n_window_tiles() * kernels::kTile);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t row = size(task.first_row) + i / size(task.n_heads);
    const Row& first_of_segment = *std::find_if(b.rows.begin(), b.rows.end(), [&](const Row& r) {
      return r.segment == b.rows[row].segment;
    });
    attention_visitor_({.segment = b.rows[row].segment,
                        .token = size(b.rows[row].position - first_of_segment.position),
                        .layer = index,
                        .head = task.first_head + static_cast<int>(i) % task.n_heads,
                        .sinks = {rows[i].weights, size(attention.n_sinks)},
                        .first_position = attention.oldest_tile * kernels::kTile,
                        .window = {rows[i].weights + n_sink_weights, n_window_weights}});
  }
}

}  // namespace runnel
