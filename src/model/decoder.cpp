// One step of the model, from the batch to the logits. Attention and the feed-forward half have
// files of their own.
#include <algorithm>
#include <array>
#include <limits>

#include "kernels/dequantize.h"
#include "model/decoder_buffers.h"

namespace runnel {
namespace {

constexpr int kDecodeQueryRows = 8;

}  // namespace

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
  logits(on_logits);
  for (const Segment& segment : batch)
    segment.cache->advance(static_cast<int>(segment.tokens.size()));
}

void Decoder::layer(int index) {
  const LayerWeights& w = weights_.layers[size(index)];
  Buffers& b = *buffers_;
  normalize(w.attention_norm, b.x.data(), b.h.data());
  attention(index, b.h.data(), b.attended.data());
  if (b.rows.empty()) return;
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

void Decoder::plan(std::span<const Segment> batch) {
  Buffers& b = *buffers_;
  b.rows.clear();
  b.logit_rows.clear();
  for (std::size_t s = 0; s < batch.size(); ++s) {
    KvCache& cache = *batch[s].cache;
    cache.reserve(static_cast<int>(batch[s].tokens.size()));
    const float sink_logit =
        batch[s].softmax == Softmax::kOffByOne ? 0.0f : -std::numeric_limits<float>::infinity();
    for (std::size_t t = 0; t < batch[s].tokens.size(); ++t) {
      const std::int64_t position = cache.position() + static_cast<std::int64_t>(t);
      const bool is_wanted =
          batch[s].logits == Segment::Logits::kAll ||
          (batch[s].logits == Segment::Logits::kLast && t + 1 == batch[s].tokens.size());
      if (is_wanted) b.logit_rows.push_back(b.rows.size());
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
  plan_attention();
}

// Cuts the queries of each segment and KV head into tasks of a few rows, so that a tile of keys
// widened once serves them all.
void Decoder::plan_attention() {
  Buffers& b = *buffers_;
  b.attention_tasks.clear();
  for (int first = 0, n = 0; first < n_rows(); first += n) {
    const auto begin = b.rows.begin() + first;
    n = static_cast<int>(
        std::find_if(begin, b.rows.end(),
                     [&](const Row& row) { return row.segment != begin->segment; }) -
        begin);
    const int most = n == 1 ? kDecodeQueryRows : kernels_.query_rows;
    const int heads = std::min(config_.group(), most);
    const int tokens = std::max(1, most / heads);
    for (int kv_head = 0; kv_head < config_.n_kv_heads; ++kv_head) {
      for (int head = 0; head < config_.group(); head += heads) {
        for (int t = 0; t < n; t += tokens) {
          b.attention_tasks.push_back({first + t, std::min(tokens, n - t), kv_head,
                                       kv_head * config_.group() + head,
                                       std::min(heads, config_.group() - head)});
        }
      }
    }
  }
}

// The batch without the rows whose logits nobody wants: after the last layer's keys and values are
// stored, nothing depends on them.
void Decoder::keep_wanted_rows() {
  Buffers& b = *buffers_;
  if (b.logit_rows.size() == b.rows.size()) return;
  for (std::size_t to = 0; to < b.logit_rows.size(); ++to) {
    const std::size_t from = b.logit_rows[to];
    b.rows[to] = b.rows[from];
    for (Vector* v : {&b.x, &b.h})
      std::copy_n(&(*v)[from * size(config_.dim)], config_.dim, &(*v)[to * size(config_.dim)]);
    for (Vector* v : {&b.q, &b.sink_q})
      std::copy_n(&(*v)[from * size(config_.q_dim())], config_.q_dim(),
                  &(*v)[to * size(config_.q_dim())]);
    b.logit_rows[to] = to;
  }
  b.rows.resize(b.logit_rows.size());
  plan_attention();
}

void Decoder::embed() {
  Buffers& b = *buffers_;
  threads_.run(n_rows(), [&](int i, int) {
    const Matrix& table = weights_.embeddings;
    float* x = &b.x[size(i) * size(config_.dim)];
    const std::byte* row = table.data + size(b.rows[size(i)].token) * table.row_bytes();
    kernels::dequantize_row(table.type, row, x, config_.dim);
    if (config_.embedding_scale == 1) return;
    for (int d = 0; d < config_.dim; ++d) x[d] *= config_.embedding_scale;
  });
}

void Decoder::logits(const LogitsVisitor& on_logits) {
  Buffers& b = *buffers_;
  const std::size_t dim = size(config_.dim);
  const std::size_t vocabulary = size(config_.vocabulary_size);
  keep_wanted_rows();
  normalize(weights_.output_norm, b.x.data(), b.h.data());
  for (std::size_t first = 0; first < b.rows.size(); first += kLogitRows) {
    const std::size_t n = std::min<std::size_t>(kLogitRows, b.rows.size() - first);
    multiply(std::array{
        product_of(weights_.output, &b.h[first * dim], static_cast<int>(n), b.logits.data())});
    for (std::size_t i = 0; i < n; ++i) {
      float* row = &b.logits[i * vocabulary];
      if (config_.final_softcap > 0)
        kernels_.softcap(row, config_.final_softcap, config_.vocabulary_size);
      const Row& token = b.rows[first + i];
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

// Several products of the same inputs in one parallel run, each cut into groups of rows.
void Decoder::multiply(std::span<kernels::Matmul> products) {
  prepare_inputs(products);
  std::int64_t n_groups = 0;
  for (const kernels::Matmul& m : products) n_groups += kernels::n_groups(m.w.rows);
  const auto run = [&](std::int64_t first, std::int64_t last, int thread) {
    for (const kernels::Matmul& m : products) {
      const std::int64_t n = kernels::n_groups(m.w.rows);
      if (first < n && last > 0) multiply_groups(m, std::max<std::int64_t>(first, 0), last, thread);
      first -= n;
      last -= n;
    }
  };
  run_groups(n_groups, 1, group_bytes(products.front().w), products.front().n_tokens, run);
}

// The groups of rows [first, last), or as many of them as there are.
void Decoder::multiply_groups(const kernels::Matmul& m, std::int64_t first, std::int64_t last,
                              int thread) {
  kernels_.matmul(m, first * kernels::kGroupRows, std::min(m.w.rows, last * kernels::kGroupRows),
                  buffers_->scratch_of(thread));
}

// What the kernels make of the inputs, once for all the products, if it is not made yet.
void Decoder::prepare_inputs(std::span<kernels::Matmul> products) {
  if (products.front().inputs != nullptr) return;
  unsigned forms = 0;
  for (const kernels::Matmul& m : products) forms |= kernels_.wanted_inputs(m.w);
  if (forms == 0) return;
  const kernels::Matmul& m = products.front();
  std::byte* inputs = buffers_->inputs.get();
  constexpr int kTogether = kernels::kInputGroup;  // tokens that share cache lines of inputs
  threads_.run((m.n_tokens + kTogether - 1) / kTogether, [&](int task, int) {
    const int end = std::min(m.n_tokens, (task + 1) * kTogether);
    for (int t = task * kTogether; t < end; ++t)
      kernels_.prepare(forms, m.x + t * m.x_stride, m.w.cols, 0, m.w.cols, t, m.n_tokens, inputs);
  });
  for (kernels::Matmul& product : products) product.inputs = inputs;
}

// The product with room for its inputs, if tasks that make some multiple of `n_columns` columns of
// x can prepare them at once, while they are near, by prepare_part().
kernels::Matmul Decoder::with_parts(kernels::Matmul product, std::int64_t n_columns,
                                    std::byte* inputs) {
  const bool wants_parts = kernels_.wanted_inputs(product.w) != 0;
  if (wants_parts && n_columns % kernels_.input_columns == 0) product.inputs = inputs;
  return product;
}

// The columns [first, last) of a row of x.
void Decoder::prepare_part(const kernels::Matmul& m, int row, std::int64_t first,
                           std::int64_t last) const {
  if (m.inputs == nullptr) return;
  kernels_.prepare(kernels_.wanted_inputs(m.w), m.x + row * m.x_stride, m.w.cols, first, last, row,
                   m.n_tokens, m.inputs);
}

}  // namespace runnel
