// Operations on an OpenCL device. A dense layer of one token is five launches: norm and q, k, v;
// rotation, cache and attention in parts; their sum and the output product with the residual; norm,
// gate, up and activation; down with the residual. Of several tokens it is eight or nine: what
// products take is then made by a launch of its own, and keys are stored before attention where a
// stream has several.
//
// Nothing comes back to the host but logits, and attention while it is observed. A row is summed in
// the same order whatever the batch, so one device gives the same bits chunked and in single steps;
// another device, or the processor, gives them within rounding.
#pragma once

#include <array>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "device/opencl/recorded_steps.h"
#include "device/opencl/sampling.h"
#include "device/opencl/tuning.h"
#include "device/opencl/weights.h"
#include "device/operations.h"

namespace runnel::opencl {

inline constexpr std::size_t kRowGroup = 128;  // work-items of rows.cl

class OpenClOperations final : public Operations {
 public:
  OpenClOperations(Context& context, WeightStore& weights, Tuning& tuning, const StepSizes& sizes);
  // Of the device's memory that operations of these sizes take, with their rows.
  static std::uint64_t bytes_of(const StepSizes& sizes);

  Rows rows(int width) override;
  void begin(const Step& step) override;
  void keep(std::span<const std::size_t> kept, std::span<const StepRow> rows) override;
  void embed(const Matrix& table, float scale, Rows x) override;
  void normalize(const Normalization& norm, Rows x, Rows out) override;
  void multiply(const Input& input, std::span<const Product> products) override;
  void rotate_and_store(const AttentionLayer& layer, Rows q, Rows k, Rows v) override;
  void attend(const AttentionLayer& layer, Rows q, const Residual& residual) override;
  // Models with these are refused (Device::lacks).
  void split_gates(const AttentionLayer&, Rows, Rows) override { std::abort(); }
  void delta_net(int, const DeltaNet&, const DeltaNetWeights&, float, const Input&,
                 const Residual&) override {
    std::abort();
  }
  void short_conv(int, int, const ShortConvWeights&, const Input&, const Residual&) override {
    std::abort();
  }
  void layer_inputs(const LayerInputWeights& weights, float norm_epsilon, Rows x,
                    Rows inputs) override;
  void add_layer_input(const LayerInput& weights, int first, Rows inputs,
                       const Residual& residual) override;
  void feed_forward(const FfnLayer& layer, const FeedForward& weights, const Input& input,
                    const Residual& residual) override;
  void experts(const ExpertsLayer& layer, const Input& input, const Residual& residual) override;
  void logits(const Input& input, const Linear& output, float softcap,
              const RowVisitor& on_row) override;
  void sample(std::span<const Choice> choices, std::span<Chosen> chosen) override {
    context_.drop_recording();  // of a step that failed
    sampler_.sample(choices, chosen);
  }
  void read(Rows rows, float* out) override;
  void write(Rows rows, const float* in) override;
  void observe_attention(AttentionVisitor visitor) override { visitor_ = std::move(visitor); }

 private:
  struct Segment {  // rows of one cache
    std::size_t first;
    std::size_t n;
    KvCache* cache;
  };
  struct Output {
    const Linear* linear;
    const Buffer* y;
  };
  struct Forms {  // of inputs
    bool quants = false;
    bool floats = false;
  };
  // Where inputs of products come from.
  struct Source {
    enum class Kind { kNorm, kActivation, kParts } kind = Kind::kNorm;
    const Buffer* x = nullptr;  // a row; a gate; attention's parts
    int width = 0;
    Normalization norm = {};
    Activation activation = {};
    const Buffer* up = nullptr;                 // of an activation; null: none
    const AttentionLayer* attention = nullptr;  // of parts
    std::size_t n_splits = 0;
  };
  static constexpr std::size_t kMostAlike = 3;
  struct Places {  // of the matrices of one launch
    struct Place {
      const Buffer* w;
      cl_int rows;
      const Buffer* bias;
      const Buffer* y;
    };
    std::array<Place, kMostAlike> of;
    cl_int biases = 0;
    std::size_t n_groups = 0;
  };
  struct Rotation {
    AttentionLayer layer;
    Rows q, k, v;
  };

  static constexpr std::size_t kPartBytes = std::size_t{32} << 20;  // of attention's parts, at most

  static constexpr std::size_t kMostSplits = 16;

  template <typename Take>
  static void lay_out(const StepSizes& sizes, Take take);
  std::size_t n_rows() const { return step_.rows.size(); }
  const Buffer& of(Rows rows) const { return rows_[static_cast<std::size_t>(rows.id)]; }
  const Buffer& angles(int table, int which);
  std::vector<Segment> segments() const;
  void write_rows();
  struct Turns {  // of a layer's rotation
    bool is_rotated;
    int n_pairs;
    bool is_twice;  // some row's place in the cache is another than that in the stream
  };
  Turns turns_of(const AttentionLayer& layer) const;
  Program& attention_program(const AttentionLayer& layer, const KvCache& cache);
  std::size_t n_splits(int cache_layer) const;
  std::size_t part_bytes(const AttentionLayer& layer) const;
  bool is_decoding() const;
  RecordedSteps::Key key_of_step() const;
  void rotate_now(const Rotation& rotation);
  void attend_together(const Rotation& rotation);
  Forms forms_of(std::span<const Output> outputs) const;
  void normalize(const Normalization& norm, std::size_t n, const Buffer& x, int width,
                 const Buffer& out);
  void add(const Residual& residual, const Buffer& update);
  void launch_norm(const Normalization& norm, std::size_t n, const Buffer& x, int width,
                   const Buffer& out, bool adds, float scale, float sum_scale);
  Source activated(const FfnLayer& layer, int ffn_dim) const;
  Source norm_of(const Input& input) const;
  std::size_t factor_bytes(const Source& source) const;
  template <typename... More>
  void set_source(Kernel& kernel, const Source& source, const More&... more);
  void prepare(const Source& source, std::size_t n, Forms forms);
  bool is_made_inside(const Source& source, std::span<const Output> outputs) const;
  void multiply(const Source& source, std::span<const Output> outputs, bool adds);
  void multiply_alone(const Source& source, std::span<const Output> outputs, bool adds);
  void multiply(std::span<const Output> outputs, std::size_t n, bool adds);
  std::size_t n_alike(std::span<const Output> outputs) const;
  Program& product_program(const DeviceMatrix& matrix, std::size_t gate_up_group = 0);
  Places places_of(std::span<const Output> outputs);
  template <typename Set>
  void with_local_inputs(const DeviceMatrix& matrix, Set set);
  void multiply_alike(std::span<const Output> outputs, std::size_t n, bool adds);
  void launch_product(const DeviceMatrix& first, const Places& places, std::size_t n, bool adds,
                      std::size_t together);
  // x += scale * norm(product), of a source or of the inputs that are prepared (null).
  void multiply_into(const Source* source, const Linear& linear, const Residual& residual);
  bool gate_and_activate_alone(const FfnLayer& layer, const FeedForward& ffn, const Input& input);
  void activate_into(const FfnLayer& layer, const FeedForward& ffn, const Input& input);
  void add_dense_beside(const ExpertsLayer& layer, Rows x);
  void add_shared_expert(const ExpertsLayer& layer, const Input& input, int width);
  void multiply_chosen(std::span<const FeedForward> experts, const Linear FeedForward::*linear,
                       int n_used, std::size_t n_choices, const Buffer& y);
  void attend_segment(const AttentionLayer& layer, Rows q, const Segment& segment,
                      bool keeps_parts);
  void report_attention(const AttentionLayer& layer, Rows q, const Segment& segment);
  void give_logits(std::size_t first, std::size_t n, std::size_t vocabulary,
                   const RowVisitor& on_row);
  template <typename... More>
  void set_attention(Kernel& kernel, const AttentionLayer& layer, Rows q, const Segment& segment,
                     int first_row, const More&... more);

  Context& context_;
  WeightStore& weights_;
  Tuning& tuning_;
  TokenSampler sampler_;
  RecordedSteps recorded_;
  StepSizes sizes_;
  AttentionVisitor visitor_;
  Step step_;
  std::optional<Rotation> waiting_;              // joined with the attention that follows
  std::chrono::steady_clock::time_point began_;  // the step
  std::vector<Buffer> rows_;                     // by Rows::id: [max_tokens, width]
  std::vector<int> widths_;                      // of them
  std::vector<Buffer> angles_;              // of each table: cosines, sines, and those of the sinks
  std::vector<bool> has_angles_;            // of this step
  Buffer positions_;                        // [n, 2]: in the stream and in the cache
  Buffer query_scales_;                     // [n]
  Buffer row_sinks_;                        // [n]
  int q_width_ = 0;                         // of sink_q_, as the last layer left it
  Buffer table_rows_;                       // [n, layer_inputs_dim]
  Buffer sink_q_, heads_;                   // [n, q_dim]
  Buffer parts_;                            // of attention
  Buffer quants_, scales_, sums_, floats_;  // inputs of products
  Buffer gate_, up_;                        // [n (times experts used), ffn_dim]
  Buffer update_;                           // [n, dim]
  Buffer logits_;                           // [kLogitRows, vocabulary]
  Buffer router_, chosen_, shares_, expert_out_;
  std::vector<float> host_;  // what goes to the device or came from it
};

}  // namespace runnel::opencl
