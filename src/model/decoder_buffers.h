// What the decoder's files share: the rows of a batch and the buffers of a step. Included by them
// alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/cache_line.h"
#include "base/large_pages.h"
#include "model/alibi.h"
#include "model/decoder.h"

namespace runnel {

inline constexpr int kLogitRows = 32;   // rows of logits computed together
inline constexpr int kManyTokens = 64;  // so many are arithmetic, fewer read weights

inline std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

inline int largest_input(const Config& c) { return std::max({c.dim, c.q_dim(), c.ffn_dim}); }

// The product of `n` rows of inputs [n, linear.weight.cols] with a linear map.
inline kernels::Matmul product_of(const Linear& linear, const float* x, int n, float* y) {
  return {.w = linear.weight,
          .x = x,
          .x_stride = linear.weight.cols,
          .n_tokens = n,
          .bias = linear.bias.empty() ? nullptr : linear.bias.data(),
          .y = y,
          .y_stride = linear.weight.rows};
}

// Bytes of a group of rows, as stored.
inline std::int64_t group_bytes(const kernels::Matrix& w) {
  return static_cast<std::int64_t>(w.row_bytes()) * kernels::kGroupRows;
}

// run(first, last, thread) for n groups of rows of weights, of `group_bytes` each, in parallel
// tasks of a multiple of `unit` groups: long streams of memory for a few tokens; for many a few
// equal tasks, for each reads all inputs.
template <typename Run>
void Decoder::run_groups(std::int64_t n, std::int64_t unit, std::int64_t group_bytes, int n_tokens,
                         Run run) {
  constexpr std::int64_t kSmallestTaskBytes = 16 << 10;  // some 1 us
  const std::int64_t most_tasks = n_tokens < kManyTokens ? 1024 : 4 * threads_.size();
  const std::int64_t n_units = (n + unit - 1) / unit;
  const std::int64_t of_task = std::max(kSmallestTaskBytes / (unit * group_bytes) + 1,
                                        (n_units + most_tasks - 1) / most_tasks);
  threads_.run_ranges(static_cast<int>((n_units + of_task - 1) / of_task),
                      [&](int first, int end, int thread) {
                        run(first * of_task * unit, std::min(n, end * of_task * unit), thread);
                      });
}

// Cosines and sines of the batch's rows for one Rope, at the position in the stream and at that in
// the cache.
struct Angles {
  std::vector<float> cosines, sines, sink_cosines, sink_sines;  // [max_tokens, n_pairs]

  Angles(const Rope& rope, int max_tokens)
      : cosines(size(rope.n_pairs()) * size(max_tokens)),
        sines(cosines),
        sink_cosines(cosines),
        sink_sines(cosines) {}

  void set(const Rope& rope, int row, std::int64_t position, std::int64_t cache_position) {
    if (rope.n_pairs() == 0) return;  // no rotation
    const std::size_t at = size(row) * size(rope.n_pairs());
    rope_angles(rope, position, &cosines[at], &sines[at]);
    if (cache_position != position)
      rope_angles(rope, cache_position, &sink_cosines[at], &sink_sines[at]);
  }
};

// One token of the batch.
struct Decoder::Row {
  Token token;
  std::size_t segment;
  KvCache* cache;
  std::int64_t position;
  std::int64_t cache_position;
  float sink_logit;
};

// Query heads [first_head, first_head + n_heads) of rows [first_row, first_row + n_rows), all of
// one KV head.
struct Decoder::AttentionTask {
  int first_row;
  int n_rows;
  int kv_head;
  int first_head;
  int n_heads;
};

struct Decoder::Buffers {
  std::vector<Row> rows;
  std::vector<AttentionTask> attention_tasks;
  Vector x;          // [n, dim]: the residual stream
  Vector h;          // [n, dim]: normalised
  Vector q, sink_q;  // [n, q_dim]: rotated for the window, and for the sinks where the two differ
  Vector k, v;       // [n, kv_dim]
  Vector heads;      // [n, q_dim]: attention's output before its projection
  Vector attended;   // [n, dim]
  Vector gate, up;   // [n, ffn_dim]
  Vector fed;        // [n, dim]
  Vector logits;     // [kLogitRows, vocabulary]
  Angles angles, local_angles;
  std::vector<float> alibi_slopes;  // [n_heads] or empty
  std::vector<std::size_t> logit_rows;
  // Of products, as the kernels want them; only the forms in use are resident. Those of `down` are
  // made while those of gate and up are read.
  PageBuffer inputs, down_inputs;
  std::vector<std::vector<CacheLine>> scratch;  // one for each thread
  std::vector<Vector> study;  // attention weights, while observed; one for each thread
  // Experts: router logits [n, n_experts], the chosen ones and their weights [n, n_experts_used].
  Vector router;
  std::vector<int> chosen;
  Vector chosen_weight;
  std::vector<std::size_t> choices;  // places of one expert in `chosen`
  Vector expert_in, expert_out;      // [n, dim]

  std::byte* scratch_of(int thread) { return scratch[size(thread)].front().bytes; }

  Buffers(const Config& c, int n, int n_threads)
      : angles(c.rope, n), local_angles(c.local_rope, n) {
    rows.reserve(size(n));
    logit_rows.reserve(size(n));
    for (Vector* buffer : {&x, &h, &attended, &fed}) buffer->resize(size(n) * size(c.dim));
    for (Vector* buffer : {&q, &sink_q, &heads}) buffer->resize(size(n) * size(c.q_dim()));
    for (Vector* buffer : {&k, &v}) buffer->resize(size(n) * size(c.kv_dim()));
    for (Vector* buffer : {&gate, &up}) buffer->resize(size(n) * size(c.ffn_dim));
    logits.resize(size(std::min(n, kLogitRows)) * size(c.vocabulary_size));
    inputs = take_pages(kernels::best_table().input_bytes(largest_input(c), n));
    down_inputs = take_pages(kernels::best_table().input_bytes(c.ffn_dim, n));
    scratch.assign(
        size(n_threads),
        cache_lines(std::max(kernels::matmul_scratch_bytes(largest_input(c)),
                             kernels::best_table().attention_scratch_bytes(c.head_dim))));
    study.resize(size(n_threads));
    if (c.max_alibi_bias > 0) alibi_slopes = runnel::alibi_slopes(c.n_heads, c.max_alibi_bias);
    if (c.n_experts == 0) return;
    router.resize(size(n) * size(c.n_experts));
    chosen.resize(size(n) * size(c.n_experts_used));
    chosen_weight.resize(chosen.size());
    choices.reserve(size(n));
    for (Vector* buffer : {&expert_in, &expert_out}) buffer->resize(size(n) * size(c.dim));
  }
};

}  // namespace runnel
