// The seam to a processor: one step of a model as whole operations over rows that the processor
// owns.
//
// The decoder (src/model) says what a layer is; policy, positions and snapshots are none of a
// device's business, and how operations are cut into tasks, fused or kept in flight none of the
// decoder's. So operations are large enough to be fused: a product normalises its input and a
// branch adds itself to the residual stream. Whatever a device does, a row's numbers depend on that
// row's stream only and are summed in an order that neither the number of rows nor threads change.
// An operation may still be running when its call returns; what comes back to the host (read,
// logits, observed attention) has waited for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "device/logits.h"
#include "device/step_times.h"
#include "device/terms.h"
#include "device/weights.h"
#include "runnel/options.h"
#include "stream/kv_cache.h"

namespace runnel {

// Room on the device for `width` floats of each token of a step.
struct Rows {
  int id = -1;
  int width = 0;
};

// One token of a step. Tokens of a segment follow one another.
struct StepRow {
  Token token;
  std::size_t segment;
  KvCache* cache;
  std::int64_t position;
  std::int64_t cache_position;
  float sink_logit;             // of its softmax: exp of it joins the denominator
  float query_scale = 1;        // its queries are multiplied with it
  LogitsRow* logits = nullptr;  // where its logits stay, if it has some; null: they are shown
  float* state = nullptr;       // [dim]: where it stays after all layers, instead of its logits
};

// Cosines and sines of the rows' positions in the stream and, where these differ, in the cache:
// [rows, n_pairs] each.
struct AngleTable {
  int n_pairs = 0;
  const float* cosines = nullptr;
  const float* sines = nullptr;
  const float* sink_cosines = nullptr;
  const float* sink_sines = nullptr;
  // For norms behind the rotation: of twice the position in the cache less that in the stream,
  // where the two differ. Else null.
  const float* mirror_cosines = nullptr;
  const float* mirror_sines = nullptr;
};

struct Step {
  std::span<const StepRow> rows;
  std::span<const AngleTable> angles;  // of the model's rotations
  bool wants_all_logits = false;       // keep() is not called
};

struct Normalization {
  const NormWeights* weights = nullptr;  // null: none
  Norm kind = Norm::kRms;
  float epsilon = 0;
};

// What a product takes: rows, normalised first where a norm is given.
struct Input {
  Rows x;
  Normalization norm;
};

// Where a branch ends: x = (x + scale * norm(update)) * sum_scale.
struct Residual {
  Rows x;
  Normalization norm;
  float scale = 1;
  float sum_scale = 1;
};

struct Product {
  const Linear* linear;  // [y.width, x.width]
  Rows y;
};

struct AttentionLayer {
  int layer = 0;
  int cache_layer = 0;     // whose keys and values in the streams' caches
  bool has_keys = true;    // false: those of cache_layer are there already, k and v are not read
  bool has_values = true;  // false: they are the keys, before their norm
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  RopeStyle rope = RopeStyle::kNone;
  int angles = 0;                                          // which of the step's
  const NormWeights *q_norm = nullptr, *k_norm = nullptr;  // over each head (RMS); null: none
  bool normalizes_all_heads = false;                       // the norms are over all heads together
  bool normalizes_values = false;                          // each head of them, without weights
  // Not empty: the norms follow the rotation. They have no weights then, and these [head_dim] are
  // those of q times those of k.
  std::span<const float> rotated_weights;
  float norm_epsilon = 0;
  float clamp = 0;                      // of q, k and v, before all else; 0: none
  float scale = 1;                      // of scores
  float softcap = 0;                    // of scores; 0: none
  std::span<const float> alibi_slopes;  // [n_heads] or empty
  Rows gate = {};  // [n_heads * head_dim]: what attention gives is multiplied with its sigmoid; id
                   // -1: not
  std::span<const float> sink_logits;  // learned, [n_heads] or empty
  const Linear* output = nullptr;      // [dim, n_heads * head_dim]
};

struct FfnLayer {
  Activation activation = Activation::kSilu;
  bool is_gated = true;  // down(act(gate x) * up x), or down(act(up x))
};

// Each row takes the `n_used` experts with the largest router logits, weighted by their softmax.
struct ExpertsLayer {
  const Linear* router;  // [n_experts, dim]
  std::span<const FeedForward> experts;
  int n_used;
  FfnLayer ffn;
  bool is_sigmoid = false;              // weighted by their sigmoids over the sum of these instead
  std::span<const float> bias = {};     // of the choice alone: [n_experts] or empty
  const FeedForward* shared = nullptr;  // the expert that every row takes; null: none
  const Linear* shared_gate = nullptr;  // [1, dim]: its share is the sigmoid of that; null: 1
  // A dense ffn beside the experts; null: none. The residual stream itself is then the input of the
  // router and of the dense ffn, through their norms.
  const DenseBeside* beside = nullptr;
  const FeedForward* dense = nullptr;
  float norm_epsilon = 0;  // of these
};

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

// Receives the logits [vocabulary_size] of a row, valid during the call; rows in order.
using RowVisitor = std::function<void(std::size_t row, std::span<const float> logits)>;

// What a step needs room for.
struct StepSizes {
  int max_tokens = 0;
  int dim = 0;            // of the residual stream
  int largest_input = 0;  // of any product
  int ffn_dim = 0;        // the largest
  int q_dim = 0;          // the largest
  int head_dim = 0;       // the largest
  int vocabulary_size = 0;
  int n_experts = 0;
  int n_experts_used = 0;
  int mixer_dim = 0;  // of the inputs of layers without keys and values: the most floats a row
  int mixed_dim = 0;  // and of what they give before the output product
  int layer_inputs_dim = 0;  // of what tokens have for all layers
};

class Operations {
 public:
  virtual ~Operations() = default;

  // Room for the tokens of a step, for as long as the operations live.
  virtual Rows rows(int width) = 0;

  // A step begins. What it names stays as it is until the next one, or keep().
  virtual void begin(const Step& step) = 0;
  // Goes on with some rows, `kept` in rising order, now `rows`.
  virtual void keep(std::span<const std::size_t> kept, std::span<const StepRow> rows) = 0;

  // x = scale * the rows' tokens' rows of the table
  virtual void embed(const Matrix& table, float scale, Rows x) = 0;
  virtual void normalize(const Normalization& norm, Rows x, Rows out) = 0;
  // Several products of the same input.
  virtual void multiply(const Input& input, std::span<const Product> products) = 0;
  // Finishes queries, keys and values: clamp, norm over heads, rotation; and writes keys and values
  // to the caches.
  virtual void rotate_and_store(const AttentionLayer& layer, Rows q, Rows k, Rows v) = 0;
  // Of rows [n_heads, 2, head_dim], the first of each two are queries, the second gates.
  virtual void split_gates(const AttentionLayer& layer, Rows both, Rows q) = 0;
  // Softmax attention of the rotated queries over each row's cache, and the output product.
  virtual void attend(const AttentionLayer& layer, Rows q, const Residual& residual) = 0;
  // Layers without keys and values: each row moves the state of its stream's cache (of `layer`) on,
  // the rows of a stream one after the other.
  virtual void delta_net(int layer, const DeltaNet& net, const DeltaNetWeights& weights,
                         float norm_epsilon, const Input& input, const Residual& residual) = 0;
  virtual void short_conv(int layer, int width, const ShortConvWeights& weights, const Input& input,
                          const Residual& residual) = 0;
  // What the rows' tokens have for each layer, [n_layers * width]: the table's row times
  // sqrt(width), and the product with x over sqrt(dim), normalised; together over sqrt(2).
  virtual void layer_inputs(const LayerInputWeights& weights, float norm_epsilon, Rows x,
                            Rows inputs) = 0;
  // One layer's part of it, from column `first` on, gated by the residual stream and added to it.
  virtual void add_layer_input(const LayerInput& weights, int first, Rows inputs,
                               const Residual& residual) = 0;
  virtual void feed_forward(const FfnLayer& layer, const FeedForward& weights, const Input& input,
                            const Residual& residual) = 0;
  virtual void experts(const ExpertsLayer& layer, const Input& input, const Residual& residual) = 0;
  // Of all rows: left where the row says, or shown. softcap 0: none.
  virtual void logits(const Input& input, const Linear& output, float softcap,
                      const RowVisitor& on_row) = 0;

  // Tokens from logits that this device left: all together, each as Sampler::pick chooses it here.
  // Error: logits without a number.
  virtual void sample(std::span<const Choice> choices, std::span<Chosen> chosen) = 0;

  // Whether a product since begin() had an input that is no finite number, as damaged weights make
  // them; such an input may vanish where it is rounded to integers. A device that does not look
  // says no.
  virtual bool met_nonfinite() const { return false; }

  // All rows of the step, [rows, width]: from one device to another.
  virtual void read(Rows rows, float* out) = 0;
  virtual void write(Rows rows, const float* in) = 0;

  // Until called with an empty function, attend() reports.
  virtual void observe_attention(AttentionVisitor visitor) = 0;

  // Until called with null, steps leave there how long their parts take; a device that cannot tell
  // leaves nothing.
  virtual void measure_times(StepTimes* /*times*/) {}
};

}  // namespace runnel
