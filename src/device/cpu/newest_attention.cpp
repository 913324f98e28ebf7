// Attention over a ring of codes whose newest tokens lie in f16 too (stream/kv_cache.h): the sinks
// and these as one softmax, what is older as another, and the two joined.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "device/cpu/cpu_operations.h"

namespace runnel::cpu {
namespace {

// The sinks and the newest tokens, in a ring of f16.
kernels::Attention near_part(const kernels::Attention& all, const kernels::KvArea& newest,
                             std::int64_t n_newest, std::int64_t first_position) {
  kernels::Attention near = all;
  near.ring = newest;
  near.angles = nullptr;
  near.n_angles = 0;
  near.next = nullptr;
  near.window = std::min(all.window, n_newest - 1);
  near.oldest_tile = std::max(first_position - near.window, all.first) / kernels::kTile;
  near.newest_tile = std::max(all.newest_tile, near.oldest_tile - 1);
  return near;
}

// What is older, for rows that stand n_newest before where they are.
kernels::Attention far_part(const kernels::Attention& all, std::int64_t n_newest,
                            std::int64_t last_position) {
  kernels::Attention far = all;
  far.n_sinks = 0;
  far.window = all.window - n_newest;
  const std::int64_t newest = last_position - n_newest;
  const std::int64_t none = far.oldest_tile - 1;
  far.newest_tile = newest < all.first ? none : std::max(newest / kernels::kTile, none);
  return far;
}

// Of the softmax over both parts.
struct Shares {
  float near = 1;
  float far = 0;
};
// `shift`: what scores of the far part lack of their distances.
Shares shares_of(const kernels::SoftmaxSums& near, const kernels::SoftmaxSums& far, float shift) {
  if (far.denominator == 0) return {};
  const float far_maximum = far.maximum - shift;
  const float maximum = std::max(near.maximum, far_maximum);
  const float of_near = near.denominator * std::exp(near.maximum - maximum);
  const float of_far = far.denominator * std::exp(far_maximum - maximum);
  return {of_near / (of_near + of_far), of_far / (of_near + of_far)};
}

// Weights of the parts, the far part's behind the near one's, as those of a ring alone.
void join_weights(const kernels::Attention& all, const kernels::Attention& near,
                  const kernels::Attention& far, const Shares& share, const float* parts,
                  float* weights) {
  std::fill_n(weights, all.n_weights(), 0.0f);
  const std::int64_t n_sinks = all.n_sink_tiles() * kernels::kTile;
  const std::int64_t near_at = (near.oldest_tile - all.oldest_tile) * kernels::kTile;
  for (std::int64_t i = 0; i < near.n_weights(); ++i)
    weights[i < n_sinks ? i : i + near_at] += share.near * parts[i];
  for (std::int64_t i = 0; share.far > 0 && i < far.n_weights(); ++i)
    weights[n_sinks + i] += share.far * parts[near.n_weights() + i];
}

}  // namespace

// `attention` and `rows` as for a ring alone.
void CpuOperations::attend_newest_apart(const AttentionLayer& layer, const AttentionTask& task,
                                        const kernels::Attention& attention,
                                        std::span<kernels::QueryRow> rows, int thread) {
  const StepRow& first = step_.rows[size(task.first_row)];
  const StepRow& last = step_.rows[size(task.first_row + task.n_rows - 1)];
  const std::int64_t n_newest = first.cache->n_newest(layer.cache_layer);
  const kernels::Attention near = near_part(
      attention, newest_rings_.of(*first.cache, layer, task.kv_head), n_newest, first.position);
  const kernels::Attention far = far_part(attention, n_newest, last.position);
  const bool has_far = far.window >= 0 && far.newest_tile >= far.oldest_tile;
  const std::size_t n_near = size(near.n_weights());
  const std::size_t n_far = has_far ? size(far.n_weights()) : 0;
  Vector& study = study_of_parts_[size(thread)];
  if (visitor_) study.resize((n_near + n_far) * rows.size());

  std::array<kernels::QueryRow, kernels::kMaxQueryRows> near_rows;
  std::array<kernels::QueryRow, kernels::kMaxQueryRows> far_rows;
  std::array<kernels::SoftmaxSums, kernels::kMaxQueryRows> near_sums;
  std::array<kernels::SoftmaxSums, kernels::kMaxQueryRows> far_sums;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    float* const weights = visitor_ ? study.data() + i * (n_near + n_far) : nullptr;
    near_rows[i] = rows[i];
    near_rows[i].weights = weights;
    near_rows[i].sums = &near_sums[i];
    far_rows[i] = rows[i];
    far_rows[i].position -= n_newest;
    far_rows[i].sink_logit = -std::numeric_limits<float>::infinity();
    far_rows[i].out = far_out_[size(thread)].data() + i * size(layer.head_dim);
    far_rows[i].weights = visitor_ ? weights + n_near : nullptr;
    far_rows[i].sums = &far_sums[i];
  }
  const auto n_rows = static_cast<int>(rows.size());
  kernels_.attend(near, near_rows.data(), n_rows, scratch_of(thread));
  if (has_far) kernels_.attend(far, far_rows.data(), n_rows, scratch_of(thread));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Shares share = has_far ? shares_of(near_sums[i], far_sums[i],
                                             rows[i].bias_slope * static_cast<float>(n_newest))
                                 : Shares{};
    for (int d = 0; share.far > 0 && d < layer.head_dim; ++d)
      rows[i].out[d] = share.near * rows[i].out[d] + share.far * far_rows[i].out[d];
    if (visitor_) join_weights(attention, near, far, share, near_rows[i].weights, rows[i].weights);
  }
}

}  // namespace runnel::cpu
