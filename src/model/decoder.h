// One step of the model over a batch of segments: for each stream its next tokens, at whatever
// position it is.
//
// A single stream decoding is a batch of one segment of one token; a prompt is a segment of many;
// sixteen streams are sixteen segments. Weights are read once for all of them. Each token's result
// depends on its own stream only: a batch equals its segments alone, and a segment of n tokens
// equals n steps of one, to the last bit.
//
// The decoder says what a layer is, in operations of a device (device/operations.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "device/device.h"
#include "model/config.h"
#include "model/weights.h"
#include "runnel/options.h"
#include "stream/kv_cache.h"

namespace runnel {

struct Segment {
  KvCache* cache = nullptr;       // of this decoder's model; its position is the first token's
  std::span<const Token> tokens;  // 1 to cache->chunk(), each in [0, vocabulary_size)
  Softmax softmax = Softmax::kStandard;
  // kLater: of the last token there stays what logits_of() makes its logits of.
  enum class Logits { kNone, kLater, kLast, kAll } logits = Logits::kLast;
  LogitsRow* row = nullptr;  // where the last logits stay, of logits_row(); null: they are shown
  float* state = nullptr;    // [dim], with kLater
};

// Receives the logits [vocabulary_size] of token `token` of segment `segment`, valid during the
// call; segments and tokens in order.
using LogitsVisitor =
    std::function<void(std::size_t segment, std::size_t token, std::span<const float> logits)>;

// What steps of this model need room for.
StepSizes step_sizes(const Config& config, int max_tokens);

class Decoder {
 public:
  // Borrows all but the number. The stages are all layers in order; the first embeds, the last
  // makes the logits. `max_tokens`: the most tokens of one step, all segments together.
  Decoder(const Config& config, const Weights& weights, ThreadPool& threads,
          std::span<const Stage> stages, int max_tokens);
  ~Decoder();

  // Runs the batch and advances each segment's cache. Segments of one batch have different caches.
  // Takes no memory, but dense caches grow. Error: not enough for that, or numbers that are none
  // (the layer is named); the caches are then where they were.
  void step(std::span<const Segment> batch, const LogitsVisitor& on_logits);

  // The logits that a step with kLater did not make, of the state [dim] that it left. Error: as
  // step().
  void logits_of(std::span<const float> state, LogitsRow& row);
  // Tokens from logits that steps left: see Operations::sample().
  void sample(std::span<const Choice> choices, std::span<Chosen> chosen) {
    parts_.back().operations->sample(choices, chosen);
  }

  // Until reset with an empty function, every step reports its attention.
  void observe_attention(AttentionVisitor visitor);
  // Until reset with null, every step leaves its times there.
  void measure_times(StepTimes* times) {
    for (Part& part : parts_) part.operations->measure_times(times);
  }

  int max_tokens() const { return max_tokens_; }

 private:
  struct Angles;
  // A stage's operations and rows.
  struct Part {
    int end_layer;
    std::unique_ptr<Operations> operations;
    Rows x;                    // the residual stream
    Rows h, ffn_h;             // normalised, where two branches leave from one place
    Rows q, q_and_gate, gate;  // the others where attention has an output gate
    Rows local_q;              // of layers with smaller heads; else q
    Rows k, v;                 // of the layer with the most
    Rows inputs;               // of all layers, beside the embeddings
  };

  Operations& operations() { return *part_->operations; }
  void plan(std::span<const Segment> batch);
  void embed();
  void hand_over();
  void layer(int index);
  void parallel_layer(int index);
  void attention(int index, const Input& input);
  void place_rows(int index);
  void set_angles(int row);
  void feed_forward(int index, const Input& input);
  void add_layer_input(int index);
  void check_numbers(int layer) const;
  void keep_wanted_rows();
  bool leaves_states() const;
  void leave_states();
  void logits(const LogitsVisitor& on_logits);

  float query_scale(std::int64_t cache_position) const;
  Residual residual(const NormWeights& post_norm, float sum_scale = 1) const;
  Normalization norm(const NormWeights& weights) const;
  AttentionLayer attention_layer(int index) const;

  const Config& config_;
  const Weights& weights_;
  ThreadPool& threads_;
  int max_tokens_;
  bool is_observed_ = false;
  std::vector<Part> parts_;
  Part* part_ = nullptr;  // that runs now
  std::vector<StepRow> rows_;
  int n_looked_up_ = 0;                   // embeddings since their pages were given back
  std::vector<std::size_t> wanted_rows_;  // whose logits or states somebody wants
  std::vector<Angles> angles_;            // of the model's rotations: all layers', local layers'
  std::vector<AngleTable> angle_tables_;  // of angles_
  std::vector<float> alibi_slopes_;       // [n_heads] or empty
  std::vector<float> handed_over_;        // rows between two stages, or that stay
};

}  // namespace runnel
