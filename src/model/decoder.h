// One step of the model over a batch of segments: for each stream its next tokens, at whatever
// position it is.
//
// A single stream decoding is a batch of one segment of one token; a prompt is a segment of many;
// sixteen streams are sixteen segments. Weights are read once for all of them. Each token's result
// depends on its own stream only: a batch equals its segments alone, and a segment of n tokens
// equals n steps of one, to the last bit.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/weights.h"
#include "runnel/options.h"
#include "stream/kv_cache.h"

namespace runnel {

struct Segment {
  KvCache* cache = nullptr;       // of this decoder's model; its position is the first token's
  std::span<const Token> tokens;  // 1 to cache->chunk(), each in [0, vocabulary_size)
  Softmax softmax = Softmax::kStandard;
  enum class Logits { kNone, kLast, kAll } logits = Logits::kLast;
};

// Receives the logits [vocabulary_size] of token `token` of segment `segment`, valid during the
// call; segments and tokens in order.
using LogitsVisitor =
    std::function<void(std::size_t segment, std::size_t token, std::span<const float> logits)>;

// The attention weights of one token's head, for study: the sinks, then the positions from
// `first_position` on. Entries that the token does not see are 0. They sum to one, or to less with
// a zero or learned sink.
struct AttentionWeights {
  std::size_t segment;
  std::size_t token;  // in the segment
  int layer;
  int head;
  std::span<const float> sinks;
  std::int64_t first_position;
  std::span<const float> window;
};
// Called on worker threads, for one (layer, head) never at the same time.
using AttentionVisitor = std::function<void(const AttentionWeights&)>;

class Decoder {
 public:
  // Borrows all three. `max_tokens`: the most tokens of one step, all segments together.
  Decoder(const Config& config, const Weights& weights, ThreadPool& threads, int max_tokens);
  ~Decoder();

  // Runs the batch and advances each segment's cache. Segments of one batch have different caches.
  // Takes no memory, but dense caches grow. Error: not enough for that; nothing has changed then.
  void step(std::span<const Segment> batch, const LogitsVisitor& on_logits);

  // Until reset with an empty function, every step reports its attention.
  void observe_attention(AttentionVisitor visitor) { attention_visitor_ = std::move(visitor); }

  int max_tokens() const { return max_tokens_; }

 private:
  struct Row;            // one token of the batch
  struct AttentionTask;  // a few query rows of one KV head
  struct Buffers;

  void plan(std::span<const Segment> batch);
  void plan_attention();
  void keep_wanted_rows();
  void embed();
  void layer(int index);
  void attention(int layer, const float* input, float* out);
  void rotate_and_store(int layer, int row);
  void attend(const AttentionTask& task, int layer, const kernels::Matmul& output, int thread);
  void report_attention(const AttentionTask& task, int layer,
                        std::span<const kernels::QueryRow> rows,
                        const kernels::Attention& attention) const;
  void feed_forward(const LayerWeights& weights, const float* input, float* out);
  void dense_ffn(const FeedForward& ffn, const float* input, int n_rows, float* out);
  void gate_and_activate(const FeedForward& ffn, const float* input, int n_rows,
                         const kernels::Matmul& down);
  void experts_ffn(const LayerWeights& weights, const float* input, float* out);
  void choose_experts(const LayerWeights& weights, const float* input);
  void logits(const LogitsVisitor& on_logits);

  void normalize(const NormWeights& weights, const float* x, float* out);
  void add_to_residual(const NormWeights& post_norm, float* update);
  template <typename Run>
  void run_groups(std::int64_t n_groups, std::int64_t unit, std::int64_t group_bytes, int n_tokens,
                  Run run);
  void multiply(std::span<kernels::Matmul> products);
  template <std::size_t kN>
  void multiply(std::array<kernels::Matmul, kN> products) {
    multiply(std::span<kernels::Matmul>(products));
  }
  void multiply_groups(const kernels::Matmul& product, std::int64_t first, std::int64_t last,
                       int thread);
  void prepare_inputs(std::span<kernels::Matmul> products);
  kernels::Matmul with_parts(kernels::Matmul product, std::int64_t n_columns, std::byte* inputs);
  void prepare_part(const kernels::Matmul& product, int row, std::int64_t first,
                    std::int64_t last) const;
  int n_rows() const;

  const Config& config_;
  const Weights& weights_;
  ThreadPool& threads_;
  const kernels::Table& kernels_;
  int max_tokens_;
  std::unique_ptr<Buffers> buffers_;
  AttentionVisitor attention_visitor_;
};

}  // namespace runnel
