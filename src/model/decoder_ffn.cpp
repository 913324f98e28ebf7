// The feed-forward half of a layer: dense, or by experts.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <span>

#include "model/decoder_buffers.h"

namespace runnel {
namespace {

// Groups of rows of gate and up in a task at least: they make one chunk of `down`'s inputs.
constexpr std::int64_t kTaskGroups = 2;

}  // namespace

void Decoder::feed_forward(const LayerWeights& w, const float* input, float* out) {
  if (w.experts.empty()) return dense_ffn(w.ffn, input, n_rows(), out);
  experts_ffn(w, input, out);
}

void Decoder::dense_ffn(const FeedForward& ffn, const float* input, int n, float* out) {
  Buffers& b = *buffers_;
  const kernels::Matmul down = with_parts(product_of(ffn.down, b.gate.data(), n, out),
                                          kTaskGroups * kernels::kGroupRows, b.down_inputs.get());
  gate_and_activate(ffn, input, n, down);
  multiply(std::array{down});
}

// The rows of gate and up with the same number in one task, a few at a time where tokens are many,
// so that the activation finds both in cache, and what prepares it for `down` the activation.
void Decoder::gate_and_activate(const FeedForward& ffn, const float* input, int n,
                                const kernels::Matmul& down) {
  constexpr std::int64_t kGroupsInCache = 2 * kTaskGroups;
  Buffers& b = *buffers_;
  const auto activate = config_.activation == Activation::kSilu   ? kernels_.silu
                        : config_.activation == Activation::kGelu ? kernels_.gelu
                                                                  : kernels_.swiglu_oai;
  std::array both = {product_of(ffn.up, input, n, b.up.data()),
                     product_of(config_.is_gated ? ffn.gate : ffn.up, input, n, b.gate.data())};
  const std::span products = std::span(both).last(config_.is_gated ? 2 : 1);
  prepare_inputs(products);
  const auto run = [&](std::int64_t first_group, std::int64_t end, int thread) {
    const std::int64_t step = n < kManyTokens ? end : kGroupsInCache;
    for (std::int64_t first = first_group; first < end; first += step) {
      const std::int64_t last = std::min(end, first + step);
      for (const kernels::Matmul& m : products) multiply_groups(m, first, last, thread);
      const std::int64_t row = first * kernels::kGroupRows;
      const std::int64_t end_row =
          std::min<std::int64_t>(config_.ffn_dim, last * kernels::kGroupRows);
      for (int t = 0; t < n; ++t) {
        const std::size_t at = size(t) * size(config_.ffn_dim) + size(row);
        activate(&b.gate[at], config_.is_gated ? &b.up[at] : nullptr, &b.gate[at],
                 static_cast<int>(end_row - row));
        prepare_part(down, t, row, end_row);
      }
    }
  };
  run_groups(kernels::n_groups(config_.ffn_dim), kTaskGroups,
             std::ssize(products) * group_bytes(both.back().w), n, run);
}

// Each expert runs once over the rows that chose it; a row's shares are added in order of expert,
// whatever the batch.
void Decoder::experts_ffn(const LayerWeights& w, const float* input, float* out) {
  Buffers& b = *buffers_;
  const std::size_t dim = size(config_.dim);
  const std::size_t n_used = size(config_.n_experts_used);
  choose_experts(w, input);
  std::fill_n(out, size(n_rows()) * dim, 0.0f);
  for (int expert = 0; expert < config_.n_experts; ++expert) {
    b.choices.clear();
    for (std::size_t choice = 0; choice < size(n_rows()) * n_used; ++choice) {
      if (b.chosen[choice] != expert) continue;
      std::copy_n(input + choice / n_used * dim, dim, &b.expert_in[b.choices.size() * dim]);
      b.choices.push_back(choice);
    }
    if (b.choices.empty()) continue;
    dense_ffn(w.experts[size(expert)], b.expert_in.data(), static_cast<int>(b.choices.size()),
              b.expert_out.data());
    for (std::size_t i = 0; i < b.choices.size(); ++i) {
      const float share = b.chosen_weight[b.choices[i]];
      float* y = out + b.choices[i] / n_used * dim;
      for (std::size_t d = 0; d < dim; ++d) y[d] += share * b.expert_out[i * dim + d];
    }
  }
}

// The n_experts_used largest router logits of each row, and their softmax.
void Decoder::choose_experts(const LayerWeights& w, const float* input) {
  Buffers& b = *buffers_;
  const int n_used = config_.n_experts_used;
  multiply(std::array{product_of(w.router, input, n_rows(), b.router.data())});
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

}  // namespace runnel
