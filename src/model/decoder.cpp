#include "model/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "model/alibi.h"

namespace runnel {
namespace {

constexpr int kLogitRows = 32;  // rows of logits computed together
constexpr int kDecodeQueryRows = 8;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

kernels::KvFormat format_of(KvType type) {
  switch (type) {
    case KvType::kF32:
      return kernels::KvFormat::kF32;
    case KvType::kF16:
      return kernels::KvFormat::kF16;
    case KvType::kBF16:
      return kernels::KvFormat::kBF16;
    case KvType::kQ8_0:
      return kernels::KvFormat::kQ8_0;
  }
  return kernels::KvFormat::kF32;
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

int largest_input(const Config& c) { return std::max({c.dim, c.q_dim(), c.ffn_dim}); }

}  // namespace

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
  std::vector<kernels::InputChunk> inputs;  // of packed products
  std::vector<Vector> scratch;              // one for each thread
  std::vector<Vector> study;  // attention weights, while observed; one for each thread
  // Experts: router logits [n, n_experts], the chosen ones and their weights [n, n_experts_used].
  Vector router;
  std::vector<int> chosen;
  Vector chosen_weight;
  std::vector<int> expert_rows;  // rows of one expert
  Vector expert_in, expert_out;  // [n, dim]

  Buffers(const Config& c, int n, int n_threads)
      : angles(c.rope, n), local_angles(c.local_rope, n) {
    rows.reserve(size(n));
    logit_rows.reserve(size(n));
    for (Vector* buffer : {&x, &h, &attended, &fed}) buffer->resize(size(n) * size(c.dim));
    for (Vector* buffer : {&q, &sink_q, &heads}) buffer->resize(size(n) * size(c.q_dim()));
    for (Vector* buffer : {&k, &v}) buffer->resize(size(n) * size(c.kv_dim()));
    for (Vector* buffer : {&gate, &up}) buffer->resize(size(n) * size(c.ffn_dim));
    logits.resize(size(std::min(n, kLogitRows)) * size(c.vocabulary_size));
    inputs.resize(size(n) * size(largest_input(c)) / 32);
    const std::size_t panel = size(kernels::kPanelRows) * size(largest_input(c));
    const std::size_t attention = kernels::attention_scratch_bytes(c.head_dim) / sizeof(float);
    scratch.assign(size(n_threads), Vector(std::max(panel, attention)));
    study.resize(size(n_threads));
    if (c.max_alibi_bias > 0) alibi_slopes = runnel::alibi_slopes(c.n_heads, c.max_alibi_bias);
    if (c.n_experts == 0) return;
    router.resize(size(n) * size(c.n_experts));
    chosen.resize(size(n) * size(c.n_experts_used));
    chosen_weight.resize(chosen.size());
    expert_rows.reserve(size(n));
    for (Vector* buffer : {&expert_in, &expert_out}) buffer->resize(size(n) * size(c.dim));
  }
};

Decoder::Decoder(const Config& config, const Weights& weights, ThreadPool& threads, int max_tokens)
    : config_(config),
      weights_(weights),
      threads_(threads),
      kernels_(kernels::best_table()),
      max_tokens_(max_tokens),
      buffers_(std::make_unique<Buffers>(config, max_tokens, threads.size())) {}

Decoder::~Decoder() = default;

int Decoder::n_rows() const { return static_cast<int>(buffers_->rows.size()); }

void Decoder::step(std::span<const Segment> batch, const LogitsVisitor& on_logits) {
  plan(batch);
  embed();
  for (int i = 0; i < config_.n_layers; ++i) layer(i);
  logits(batch, on_logits);
  for (const Segment& segment : batch)
    segment.cache->advance(static_cast<int>(segment.tokens.size()));
}

void Decoder::layer(int index) {
  const LayerWeights& w = weights_.layers[size(index)];
  Buffers& b = *buffers_;
  normalize(w.attention_norm, b.x.data(), b.h.data());
  attention(index, b.h.data(), b.attended.data());
  if (config_.is_parallel) {
    if (w.ffn_norm) normalize(w.ffn_norm, b.x.data(), b.h.data());
    feed_forward(w, b.h.data(), b.fed.data());
    add_to_residual(w.attention_post_norm, b.attended.data());
    add_to_residual(w.ffn_post_norm, b.fed.data());
    return;
  }
  add_to_residual(w.attention_post_norm, b.attended.data());
  normalize(w.ffn_norm, b.x.data(), b.h.data());
  feed_forward(w, b.h.data(), b.fed.data());
  add_to_residual(w.ffn_post_norm, b.fed.data());
}

// ---- the batch
// ---------------------------------------------------------------------------------------------------

void Decoder::plan(std::span<const Segment> batch) {
  Buffers& b = *buffers_;
  b.rows.clear();
  for (std::size_t s = 0; s < batch.size(); ++s) {
    KvCache& cache = *batch[s].cache;
    cache.reserve(static_cast<int>(batch[s].tokens.size()));
    const float sink_logit =
        batch[s].softmax == Softmax::kOffByOne ? 0.0f : -std::numeric_limits<float>::infinity();
    for (std::size_t t = 0; t < batch[s].tokens.size(); ++t) {
      const std::int64_t position = cache.position() + static_cast<std::int64_t>(t);
      b.rows.push_back({batch[s].tokens[t], s, &cache, position,
                        cache.policy().cache_position(position), sink_logit});
    }
  }
  threads_.run(n_rows(), [&](int i, int) {
    const Row& row = b.rows[size(i)];
    const std::int64_t origin = row.cache->origin();
    b.angles.set(config_.rope, i, origin + row.position, origin + row.cache_position);
    b.local_angles.set(config_.local_rope, i, origin + row.position, origin + row.cache_position);
  });
  plan_attention(batch);
}

// Cuts the queries of each segment and KV head into tasks of a few rows, so that a tile of keys
// widened once serves them all.
void Decoder::plan_attention(std::span<const Segment> batch) {
  Buffers& b = *buffers_;
  b.attention_tasks.clear();
  int segment_row = 0;
  for (const Segment& segment : batch) {
    const int n = static_cast<int>(segment.tokens.size());
    const int most = n == 1 ? kDecodeQueryRows : kernels::kMaxQueryRows;
    const int heads = std::min(config_.group(), most);
    const int tokens = std::max(1, most / heads);
    for (int kv_head = 0; kv_head < config_.n_kv_heads; ++kv_head) {
      for (int head = 0; head < config_.group(); head += heads) {
        for (int t = 0; t < n; t += tokens) {
          b.attention_tasks.push_back({segment_row + t, std::min(tokens, n - t), kv_head,
                                       kv_head * config_.group() + head,
                                       std::min(heads, config_.group() - head)});
        }
      }
    }
    segment_row += n;
  }
}

void Decoder::embed() {
  Buffers& b = *buffers_;
  threads_.run(n_rows(), [&](int i, int) {
    const Matrix& table = weights_.embeddings;
    float* x = &b.x[size(i) * size(config_.dim)];
    kernels_.dequantize(table.type, table.data + size(b.rows[size(i)].token) * table.row_bytes(), x,
                        config_.dim);
    if (config_.embedding_scale == 1) return;
    for (int d = 0; d < config_.dim; ++d) x[d] *= config_.embedding_scale;
  });
}

// ---- attention
// ---------------------------------------------------------------------------------------------------

void Decoder::attention(int index, const float* input, float* out) {
  const LayerWeights& w = weights_.layers[size(index)];
  Buffers& b = *buffers_;
  const auto project = [&](const Linear& linear, const float* x, float* y) {
    return kernels::Matmul{.w = linear.weight,
                           .x = x,
                           .x_stride = linear.weight.cols,
                           .n_tokens = n_rows(),
                           .bias = linear.bias.empty() ? nullptr : linear.bias.data(),
                           .y = y,
                           .y_stride = linear.weight.rows};
  };
  multiply(std::array{project(w.q, input, b.q.data()), project(w.k, input, b.k.data()),
                      project(w.v, input, b.v.data())});
  threads_.run(n_rows(), [&](int row, int) { rotate_and_store(index, row); });
  threads_.run(static_cast<int>(b.attention_tasks.size()),
               [&](int i, int thread) { attend(b.attention_tasks[size(i)], index, thread); });
  multiply(std::array{project(w.output, b.heads.data(), out)});
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

void Decoder::attend(const AttentionTask& task, int index, int thread) {
  const Config& c = config_;
  Buffers& b = *buffers_;
  const LayerWeights& w = weights_.layers[size(index)];
  const Row& first = b.rows[size(task.first_row)];
  const Row& last = b.rows[size(task.first_row + task.n_rows - 1)];
  const LayerSight& sight = first.cache->sight(index);
  const kernels::Attention attention = {
      .format = format_of(first.cache->type()),
      .head_dim = c.head_dim,
      .sinks = first.cache->sinks(index, task.kv_head),
      .ring = first.cache->ring(index, task.kv_head),
      .n_sinks = static_cast<int>(std::min<std::int64_t>(sight.sinks, last.position + 1)),
      .window = sight.window,
      .sink_reach = sight.sink_reach,
      .first = sight.sinks,
      .oldest_tile = sight.oldest(first.position) / kernels::kTile,
      .newest_tile = last.position / kernels::kTile,
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
      rows[n++] = {
          .query = &b.q[at],
          .sink_query = is_rotated_twice ? &b.sink_q[at] : &b.q[at],
          .out = &b.heads[at],
          .position = row.position,
          .cache_position = row.cache_position,
          .bias_slope = b.alibi_slopes.empty() ? 0.0f : b.alibi_slopes[size(head)],
          .sink_logit = w.sink_logits.empty() ? row.sink_logit : w.sink_logits[size(head)]};
    }
  }
  if (attention_visitor_) {
    const std::int64_t n_tiles = (attention.n_sinks + kernels::kTile - 1) / kernels::kTile +
                                 attention.newest_tile - attention.oldest_tile + 1;
    Vector& study = b.study[size(thread)];
    study.resize(size(n_tiles * kernels::kTile * n));
    for (int i = 0; i < n; ++i) rows[i].weights = &study[size(n_tiles * kernels::kTile * i)];
  }
  kernels_.attend(attention, rows, n, reinterpret_cast<std::byte*>(b.scratch[size(thread)].data()));
  if (attention_visitor_) report_attention(task, index, {rows, size(n)}, attention);
}

void Decoder::report_attention(const AttentionTask& task, int index,
                               std::span<const kernels::QueryRow> rows,
                               const kernels::Attention& attention) const {
  const Buffers& b = *buffers_;
  const std::size_t n_sink_weights =
      size((attention.n_sinks + kernels::kTile - 1) / kernels::kTile * kernels::kTile);
  const std::size_t n_window_weights =
      size((attention.newest_tile - attention.oldest_tile + 1) * kernels::kTile);
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

// ---- feed-forward
// ------------------------------------------------------------------------------------------------

void Decoder::feed_forward(const LayerWeights& w, const float* input, float* out) {
  if (w.experts.empty()) return dense_ffn(w.ffn, input, n_rows(), out);
  experts_ffn(w, input, out);
}

void Decoder::dense_ffn(const FeedForward& ffn, const float* input, int n, float* out) {
  Buffers& b = *buffers_;
  const auto project = [n](const Linear& linear, const float* x, float* y) {
    return kernels::Matmul{.w = linear.weight,
                           .x = x,
                           .x_stride = linear.weight.cols,
                           .n_tokens = n,
                           .bias = linear.bias.empty() ? nullptr : linear.bias.data(),
                           .y = y,
                           .y_stride = linear.weight.rows};
  };
  if (config_.is_gated) {
    multiply(
        std::array{project(ffn.gate, input, b.gate.data()), project(ffn.up, input, b.up.data())});
  } else {
    multiply(std::array{project(ffn.up, input, b.gate.data())});
  }
  const auto activate = config_.activation == Activation::kSilu   ? kernels_.silu
                        : config_.activation == Activation::kGelu ? kernels_.gelu
                                                                  : kernels_.swiglu_oai;
  threads_.run(n, [&](int row, int) {
    float* gate = &b.gate[size(row) * size(config_.ffn_dim)];
    activate(gate, config_.is_gated ? &b.up[size(row) * size(config_.ffn_dim)] : nullptr, gate,
             config_.ffn_dim);
  });
  multiply(std::array{project(ffn.down, b.gate.data(), out)});
}

// Each expert runs once over the rows that chose it; a row's shares are added in order of expert,
// whatever the batch.
void Decoder::experts_ffn(const LayerWeights& w, const float* input, float* out) {
  Buffers& b = *buffers_;
  const std::size_t dim = size(config_.dim);
  choose_experts(w, input);
  std::fill_n(out, size(n_rows()) * dim, 0.0f);
  for (int expert = 0; expert < config_.n_experts; ++expert) {
    b.expert_rows.clear();
    for (int row = 0; row < n_rows(); ++row) {
      const int* chosen = &b.chosen[size(row) * size(config_.n_experts_used)];
      if (std::find(chosen, chosen + config_.n_experts_used, expert) ==
          chosen + config_.n_experts_used)
        continue;
      std::copy_n(input + size(row) * dim, dim, &b.expert_in[b.expert_rows.size() * dim]);
      b.expert_rows.push_back(row);
    }
    if (b.expert_rows.empty()) continue;
    dense_ffn(w.experts[size(expert)], b.expert_in.data(), static_cast<int>(b.expert_rows.size()),
              b.expert_out.data());
    for (std::size_t i = 0; i < b.expert_rows.size(); ++i) {
      const std::size_t first = size(b.expert_rows[i]) * size(config_.n_experts_used);
      const auto chosen = b.chosen.begin() + static_cast<std::ptrdiff_t>(first);
      const auto which =
          std::find(chosen, chosen + config_.n_experts_used, expert) - b.chosen.begin();
      const float share = b.chosen_weight[size(which)];
      float* y = out + size(b.expert_rows[i]) * dim;
      for (std::size_t d = 0; d < dim; ++d) y[d] += share * b.expert_out[i * dim + d];
    }
  }
}

// The n_experts_used largest router logits of each row, and their softmax.
void Decoder::choose_experts(const LayerWeights& w, const float* input) {
  Buffers& b = *buffers_;
  const int n_used = config_.n_experts_used;
  multiply(
      std::array{kernels::Matmul{.w = w.router.weight,
                                 .x = input,
                                 .x_stride = config_.dim,
                                 .n_tokens = n_rows(),
                                 .bias = w.router.bias.empty() ? nullptr : w.router.bias.data(),
                                 .y = b.router.data(),
                                 .y_stride = config_.n_experts}});
  for (int row = 0; row < n_rows(); ++row) {
    const float* logits = &b.router[size(row) * size(config_.n_experts)];
    int* chosen = &b.chosen[size(row) * size(n_used)];
    float* weight = &b.chosen_weight[size(row) * size(n_used)];
    for (int i = 0; i < n_used; ++i) {
      int best = -1;
      for (int e = 0; e < config_.n_experts; ++e) {
        if (std::find(chosen, chosen + i, e) != chosen + i) continue;
        if (best < 0 || logits[e] > logits[best]) best = e;
      }
      chosen[i] = best;
    }
    float sum = 0;
    for (int i = 0; i < n_used; ++i)
      sum += weight[i] = std::exp(logits[chosen[i]] - logits[chosen[0]]);
    for (int i = 0; i < n_used; ++i) weight[i] /= sum;
  }
}

// ---- logits and shared steps
// -------------------------------------------------------------------------------------

void Decoder::logits(std::span<const Segment> batch, const LogitsVisitor& on_logits) {
  Buffers& b = *buffers_;
  b.logit_rows.clear();
  for (std::size_t i = 0; i < b.rows.size(); ++i) {
    const bool is_last = i + 1 == b.rows.size() || b.rows[i + 1].segment != b.rows[i].segment;
    const Segment::Logits wanted = batch[b.rows[i].segment].logits;
    if (wanted == Segment::Logits::kAll || (wanted == Segment::Logits::kLast && is_last))
      b.logit_rows.push_back(i);
  }
  normalize(weights_.output_norm, b.x.data(), b.h.data());
  const std::size_t dim = size(config_.dim);
  const std::size_t vocabulary = size(config_.vocabulary_size);
  for (std::size_t first = 0; first < b.logit_rows.size(); first += kLogitRows) {
    const std::size_t n = std::min<std::size_t>(kLogitRows, b.logit_rows.size() - first);
    for (std::size_t i = 0; i < n; ++i)
      std::copy_n(&b.h[b.logit_rows[first + i] * dim], dim, &b.x[i * dim]);
    multiply(std::array{kernels::Matmul{
        .w = weights_.output.weight,
        .x = b.x.data(),
        .x_stride = config_.dim,
        .n_tokens = static_cast<int>(n),
        .bias = weights_.output.bias.empty() ? nullptr : weights_.output.bias.data(),
        .y = b.logits.data(),
        .y_stride = config_.vocabulary_size}});
    for (std::size_t i = 0; i < n; ++i) {
      float* row = &b.logits[i * vocabulary];
      if (config_.final_softcap > 0)
        kernels_.softcap(row, config_.final_softcap, config_.vocabulary_size);
      const Row& token = b.rows[b.logit_rows[first + i]];
      on_logits(token.segment, size(token.position - token.cache->position()), {row, vocabulary});
    }
  }
}

void Decoder::normalize(const NormWeights& w, const float* x, float* out) {
  const float* weight = w.weight.data();
  const float* bias = w.bias.empty() ? nullptr : w.bias.data();
  threads_.run(n_rows(), [&](int row, int) {
    const std::size_t at = size(row) * size(config_.dim);
    if (config_.norm == Norm::kRms) {
      kernels_.rms_norm(x + at, weight, config_.norm_epsilon, out + at, config_.dim);
    } else {
      kernels_.layer_norm(x + at, weight, bias, config_.norm_epsilon, out + at, config_.dim);
    }
  });
}

void Decoder::add_to_residual(const NormWeights& post_norm, float* update) {
  if (post_norm) normalize(post_norm, update, update);
  threads_.run(n_rows(), [&](int row, int) {
    const std::size_t at = size(row) * size(config_.dim);
    kernels_.add(update + at, &buffers_->x[at], config_.dim);
  });
}

// Several products of the same inputs in one parallel run, each cut into panels of rows.
void Decoder::multiply(std::span<kernels::Matmul> products) {
  quantize_inputs(products);
  std::int64_t n_panels = 0;
  const auto panels_of = [](const kernels::Matmul& m) {
    return (m.w.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
  };
  for (const kernels::Matmul& m : products) n_panels += panels_of(m);
  const std::int64_t per_task = std::max<std::int64_t>(1, n_panels / (8 * threads_.size()));
  const auto n_tasks = static_cast<int>((n_panels + per_task - 1) / per_task);
  threads_.run(n_tasks, [&](int task, int thread) {
    std::int64_t first = task * per_task;
    std::int64_t last = std::min(n_panels, first + per_task);
    for (const kernels::Matmul& m : products) {
      const std::int64_t n = panels_of(m);
      if (first < n && last > 0) {
        kernels_.matmul(m, std::max<std::int64_t>(first, 0) * kernels::kPanelRows,
                        std::min(m.w.rows, last * kernels::kPanelRows),
                        buffers_->scratch[size(thread)].data());
      }
      first -= n;
      last -= n;
    }
  });
}

// Packed weights are multiplied with int8 inputs, made once for all the products.
void Decoder::quantize_inputs(std::span<kernels::Matmul> products) {
  Buffers& b = *buffers_;
  if (std::none_of(products.begin(), products.end(),
                   [](const auto& m) { return m.w.packed != nullptr; }))
    return;
  const kernels::Matmul& m = products.front();
  threads_.run(m.n_tokens, [&](int t, int) {
    const kernels::InputPlace place = kernels::input_place(t, m.n_tokens, m.w.cols);
    kernels_.quantize_row(m.x + t * m.x_stride, m.w.cols, &b.inputs[size(place.first)],
                          place.stride);
  });
  for (kernels::Matmul& product : products) product.inputs = b.inputs.data();
}

}  // namespace runnel
