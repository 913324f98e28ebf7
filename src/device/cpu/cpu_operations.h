// Operations on the processor's own cores, by the table of kernels of its best instruction set.
//
// Every operation is cut into tasks for the threads. What a product makes of its input beforehand
// (int8 or bfloat16 forms) is made by the tasks that write that input, while it is near, wherever
// the kernels allow it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/cache_line.h"
#include "base/large_pages.h"
#include "base/thread_pool.h"
#include "device/cpu/newest_rings.h"
#include "device/operations.h"
#include "kernels/kernels.h"

namespace runnel::cpu {

inline std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

class CpuOperations final : public Operations {
 public:
  // Borrows the threads.
  CpuOperations(const StepSizes& sizes, ThreadPool& threads, const kernels::Table& table);

  Rows rows(int width) override;
  void begin(const Step& step) override;
  void keep(std::span<const std::size_t> kept, std::span<const StepRow> rows) override;
  void embed(const Matrix& table, float scale, Rows x) override;
  void normalize(const Normalization& norm, Rows x, Rows out) override;
  void multiply(const Input& input, std::span<const Product> products) override;
  void rotate_and_store(const AttentionLayer& layer, Rows q, Rows k, Rows v) override;
  void split_gates(const AttentionLayer& layer, Rows both, Rows q) override;
  void attend(const AttentionLayer& layer, Rows q, const Residual& residual) override;
  void delta_net(int layer, const DeltaNet& net, const DeltaNetWeights& weights, float norm_epsilon,
                 const Input& input, const Residual& residual) override;
  void short_conv(int layer, int width, const ShortConvWeights& weights, const Input& input,
                  const Residual& residual) override;
  void layer_inputs(const LayerInputWeights& weights, float norm_epsilon, Rows x,
                    Rows inputs) override;
  void add_layer_input(const LayerInput& weights, int first, Rows inputs,
                       const Residual& residual) override;
  void feed_forward(const FfnLayer& layer, const FeedForward& weights, const Input& input,
                    const Residual& residual) override;
  void experts(const ExpertsLayer& layer, const Input& input, const Residual& residual) override;
  void logits(const Input& input, const Linear& output, float softcap,
              const RowVisitor& on_row) override;
  void sample(std::span<const Choice> choices, std::span<Chosen> chosen) override;
  bool met_nonfinite() const override { return met_nonfinite_; }
  void read(Rows rows, float* out) override;
  void write(Rows rows, const float* in) override;
  void observe_attention(AttentionVisitor visitor) override { visitor_ = std::move(visitor); }
  void measure_times(StepTimes* times) override { times_ = times; }

 private:
  struct Segment {  // the rows of one stream
    int first;
    int n;
  };
  // Query heads [first_head, first_head + n_heads) of rows [first_row, first_row + n_rows), all of
  // one KV head.
  struct AttentionTask {
    int first_row;
    int n_rows;
    int kv_head;
    int first_head;
    int n_heads;
  };
  struct AttentionCut {  // what the tasks were made for
    int n_heads = 0;
    int n_kv_heads = 0;
    bool operator==(const AttentionCut&) const = default;
  };

  int n_rows() const { return static_cast<int>(step_.rows.size()); }
  float* at(Rows rows, std::int64_t row = 0) {
    return &rows_[size(rows.id)][size(row) * size(rows.width)];
  }
  std::byte* scratch_of(int thread) { return scratch_[size(thread)].front().bytes; }
  // A part of the step is done.
  void done(StepPart part) {
    if (times_ != nullptr) times_->lap(part);
  }
  const float* input_of(const Input& input);
  const float* normalised(const Normalization& norm, Rows x);
  void normalize(const Normalization& norm, const float* x, float* out, int width);
  void add(const Residual& residual, float* update);

  void make_room_for(const KvCache& cache);
  void cut_segments();
  void cut_attention(const AttentionLayer& layer);
  void finish_query(const AttentionLayer& layer, int row, float* query, float* sink_query) const;
  void finish_row(const AttentionLayer& layer, int row, Rows q, Rows k, Rows v);
  kernels::Attention attention_of(const AttentionLayer& layer, const AttentionTask& task) const;
  void attend_task(const AttentionLayer& layer, std::size_t index, Rows q,
                   const kernels::Matmul& output, int thread);
  void turn_queries(const AttentionLayer& layer, const AttentionTask& task,
                    kernels::Attention& attention, std::span<kernels::QueryRow> rows, int thread);
  void attend_newest_apart(const AttentionLayer& layer, const AttentionTask& task,
                           const kernels::Attention& attention, std::span<kernels::QueryRow> rows,
                           int thread);
  void gate_heads(const AttentionLayer& layer, const AttentionTask& task);
  void report_attention(const AttentionLayer& layer, const AttentionTask& task,
                        std::span<const kernels::QueryRow> rows,
                        const kernels::Attention& attention) const;

  void dense_ffn(const FfnLayer& layer, const FeedForward& ffn, const float* input, int n,
                 float* out);
  void gate_and_activate(const FfnLayer& layer, const FeedForward& ffn, const float* input, int n,
                         const kernels::Matmul& down);
  void add_shared_expert(const ExpertsLayer& layer, const float* input);
  void add_dense_beside(const ExpertsLayer& layer, Rows x);
  void choose_experts(const ExpertsLayer& layer, const float* input);

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
  void note_numbers(const float* x, std::int64_t n) const;
  void prepare_part(const kernels::Matmul& product, int row, std::int64_t first,
                    std::int64_t last) const;

  StepSizes sizes_;
  ThreadPool& threads_;
  const kernels::Table& kernels_;
  AttentionVisitor visitor_;
  StepTimes* times_ = nullptr;
  Step step_;
  mutable std::atomic<bool> met_nonfinite_ = false;
  std::vector<Vector> rows_;  // by Rows::id: [max_tokens, width]
  std::vector<Segment> segments_;
  NewestRings newest_rings_;
  std::vector<AttentionTask> attention_tasks_;
  AttentionCut attention_cut_;  // of attention_tasks_; empty: not made yet

  Vector normalised_;  // [n, largest_input]: an input
  Vector update_;      // [n, dim]: of the residual stream
  Vector sink_q_;      // [n, q_dim]: rotated for the sinks, where that is another rotation
  Vector heads_;       // [n, q_dim]: attention's output before its projection
  Vector gate_, up_;   // [n, ffn_dim]
  Vector logits_;      // [most rows wanted so far, at most kLogitRows, vocabulary]
  // Of products, as the kernels want them; only the forms in use are resident. Those of `down` are
  // made while those of gate and up are read.
  PageBuffer inputs_, down_inputs_;
  std::vector<std::vector<CacheLine>> scratch_;  // one for each thread
  std::vector<Vector> study_;  // attention weights, while observed; one for each thread
  std::vector<Vector>
      turned_;  // queries of rotated caches; one for each thread, once there are any
  // Of the older part of an attention in two: outputs, and weights while observed; by thread.
  std::vector<Vector> far_out_, study_of_parts_;
  // Experts: router logits [n, n_experts], the chosen ones and their weights [n, n_experts_used].
  Vector router_;
  std::vector<int> chosen_;
  Vector chosen_weight_;
  std::vector<std::size_t> choices_;  // places of one expert in `chosen_`
  Vector expert_in_, expert_out_;     // [n, dim]
  // Layers without keys and values.
  Vector mixer_in_;    // [n, mixer_dim]
  Vector mixed_;       // [n, mixed_dim]
  Vector table_rows_;  // [threads, layer_inputs_dim]
};

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

}  // namespace runnel::cpu
