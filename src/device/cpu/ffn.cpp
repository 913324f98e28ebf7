// The feed-forward half of a layer: dense, or by experts.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <span>

#include "device/cpu/group_tasks.h"

namespace runnel::cpu {
namespace {

// Groups of rows of gate and up in a task at least: they make one chunk of `down`'s inputs.
constexpr std::int64_t kTaskGroups = 2;

}  // namespace

void CpuOperations::feed_forward(const FfnLayer& layer, const FeedForward& ffn, const Input& input,
                                 const Residual& residual) {
  dense_ffn(layer, ffn, input_of(input), n_rows(), update_.data());
  add(residual, update_.data());
}

void CpuOperations::dense_ffn(const FfnLayer& layer, const FeedForward& ffn, const float* input,
                              int n, float* out) {
  const kernels::Matmul down = with_parts(product_of(ffn.down, gate_.data(), n, out),
                                          kTaskGroups * kernels::kGroupRows, down_inputs_.get());
  gate_and_activate(layer, ffn, input, n, down);
  done(StepPart::kFfnIn);
  multiply(std::array{down});
  done(StepPart::kFfnOut);
}

// The rows of gate and up with the same number in one task, a few at a time where tokens are many,
// so that the activation finds both in cache, and what prepares it for `down` the activation.
void CpuOperations::gate_and_activate(const FfnLayer& layer, const FeedForward& ffn,
                                      const float* input, int n, const kernels::Matmul& down) {
  constexpr std::int64_t kGroupsInCache = 2 * kTaskGroups;
  const auto activate = layer.activation == Activation::kSilu   ? kernels_.silu
                        : layer.activation == Activation::kGelu ? kernels_.gelu
                                                                : kernels_.swiglu_oai;
  const std::int64_t ffn_dim = ffn.up.weight.rows;
  std::array both = {product_of(ffn.up, input, n, up_.data()),
                     product_of(layer.is_gated ? ffn.gate : ffn.up, input, n, gate_.data())};
  const std::span products = std::span(both).last(layer.is_gated ? 2 : 1);
  prepare_inputs(products);
  const auto run = [&](std::int64_t first_group, std::int64_t end, int thread) {
    const std::int64_t step = n < kManyTokens ? end : kGroupsInCache;
    for (std::int64_t first = first_group; first < end; first += step) {
      const std::int64_t last = std::min(end, first + step);
      for (const kernels::Matmul& m : products) multiply_groups(m, first, last, thread);
      const std::int64_t row = first * kernels::kGroupRows;
      const std::int64_t end_row = std::min<std::int64_t>(ffn_dim, last * kernels::kGroupRows);
      for (int t = 0; t < n; ++t) {
        const std::size_t begin = size(t) * size(ffn_dim) + size(row);
        activate(&gate_[begin], layer.is_gated ? &up_[begin] : nullptr, &gate_[begin],
                 static_cast<int>(end_row - row));
        prepare_part(down, t, row, end_row);
      }
    }
  };
  run_groups(kernels::n_groups(ffn_dim), kTaskGroups,
             std::ssize(products) * group_bytes(both.back().w), n, run);
}

// Each expert runs once over the rows that chose it; a row's shares are added in order of expert,
// whatever the batch.
void CpuOperations::experts(const ExpertsLayer& layer, const Input& input,
                            const Residual& residual) {
  const float* x = layer.beside == nullptr ? input_of(input) : nullptr;
  const std::size_t dim = size(input.x.width);
  const std::size_t n_used = size(layer.n_used);
  if (layer.beside == nullptr) {
    choose_experts(layer, x);
  } else {
    const Normalization of_router = {&layer.beside->router_norm, Norm::kRms, layer.norm_epsilon};
    choose_experts(layer, normalised(of_router, input.x));
    x = input_of(input);
  }
  std::fill_n(update_.data(), size(n_rows()) * dim, 0.0f);
  for (std::size_t expert = 0; expert < layer.experts.size(); ++expert) {
    choices_.clear();
    for (std::size_t choice = 0; choice < size(n_rows()) * n_used; ++choice) {
      if (size(chosen_[choice]) != expert) continue;
      std::copy_n(x + choice / n_used * dim, dim, &expert_in_[choices_.size() * dim]);
      choices_.push_back(choice);
    }
    done(StepPart::kExperts);
    if (choices_.empty()) continue;
    dense_ffn(layer.ffn, layer.experts[expert], expert_in_.data(),
              static_cast<int>(choices_.size()), expert_out_.data());
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      const float share = chosen_weight_[choices_[i]];
      float* y = &update_[choices_[i] / n_used * dim];
      for (std::size_t d = 0; d < dim; ++d) y[d] += share * expert_out_[i * dim + d];
    }
  }
  done(StepPart::kExperts);
  if (layer.shared != nullptr) add_shared_expert(layer, x);
  if (layer.beside != nullptr) add_dense_beside(layer, input.x);
  add(residual, update_.data());
}

void CpuOperations::add_shared_expert(const ExpertsLayer& layer, const float* input) {
  dense_ffn(layer.ffn, *layer.shared, input, n_rows(), expert_out_.data());
  const std::size_t dim = size(layer.shared->down.weight.rows);
  if (layer.shared_gate != nullptr)
    multiply(std::array{product_of(*layer.shared_gate, input, n_rows(), chosen_weight_.data())});
  threads_.run(n_rows(), [&](int row, int) {
    if (layer.shared_gate != nullptr) {
      const float share = 1 / (1 + std::exp(-chosen_weight_[size(row)]));
      for (std::size_t d = 0; d < dim; ++d) expert_out_[size(row) * dim + d] *= share;
    }
    kernels_.add(&expert_out_[size(row) * dim], &update_[size(row) * dim], static_cast<int>(dim));
  });
}

// Both branches are normalised before they meet.
void CpuOperations::add_dense_beside(const ExpertsLayer& layer, Rows x) {
  const DenseBeside& beside = *layer.beside;
  const auto norm = [&](const NormWeights& weights) {
    return Normalization{&weights, Norm::kRms, layer.norm_epsilon};
  };
  normalize(norm(beside.expert_post_norm), update_.data(), update_.data(), x.width);
  dense_ffn(layer.ffn, *layer.dense, normalised(norm(beside.norm), x), n_rows(),
            expert_out_.data());
  normalize(norm(beside.post_norm), expert_out_.data(), expert_out_.data(), x.width);
  threads_.run(n_rows(), [&](int row, int) {
    const std::size_t begin = size(row) * size(x.width);
    kernels_.add(&expert_out_[begin], &update_[begin], x.width);
  });
}

// The n_used experts of each row with the largest scores, and their shares.
void CpuOperations::choose_experts(const ExpertsLayer& layer, const float* input) {
  const int n_used = layer.n_used;
  const auto n_experts = static_cast<int>(layer.experts.size());
  multiply(std::array{product_of(*layer.router, input, n_rows(), router_.data())});
  for (int row = 0; row < n_rows(); ++row) {
    float* scores = &router_[size(row) * size(n_experts)];
    int* chosen = &chosen_[size(row) * size(n_used)];
    float* weight = &chosen_weight_[size(row) * size(n_used)];
    if (layer.is_sigmoid)
      for (int e = 0; e < n_experts; ++e) scores[e] = 1 / (1 + std::exp(-scores[e]));
    const auto score = [&](int e) {
      return layer.bias.empty() ? scores[e] : scores[e] + layer.bias[size(e)];
    };
    for (int i = 0; i < n_used; ++i) {
      int best = -1;
      for (int e = 0; e < n_experts; ++e) {
        if (std::find(chosen, chosen + i, e) != chosen + i) continue;
        if (best < 0 || score(e) > score(best)) best = e;
      }
      chosen[i] = best;
    }
    float sum = layer.is_sigmoid ? 1e-6f : 0;
    for (int i = 0; i < n_used; ++i) {
      const float s = scores[chosen[i]];
      sum += weight[i] = layer.is_sigmoid ? s : std::exp(s - scores[chosen[0]]);
    }
    for (int i = 0; i < n_used; ++i) weight[i] /= sum;
    if (layer.beside == nullptr || layer.beside->expert_scales.empty()) continue;
    for (int i = 0; i < n_used; ++i) weight[i] *= layer.beside->expert_scales[size(chosen[i])];
  }
}

}  // namespace runnel::cpu
