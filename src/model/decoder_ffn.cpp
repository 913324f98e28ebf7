// The feed-forward half of a layer: dense, or by experts.
#include <algorithm>
#include <array>
#include <cmath>

#include "model/decoder_buffers.h"

namespace runnel {

void Decoder::feed_forward(const LayerWeights& w, const float* input, float* out) {
  if (w.experts.empty()) return dense_ffn(w.ffn, input, n_rows(), out);
  experts_ffn(w, input, out);
}

void Decoder::dense_ffn(const FeedForward& ffn, const float* input, int n, float* out) {
  Buffers& b = *buffers_;
  if (config_.is_gated) {
    multiply(std::array{product_of(ffn.gate, input, n, b.gate.data()),
                        product_of(ffn.up, input, n, b.up.data())});
  } else {
    multiply(std::array{product_of(ffn.up, input, n, b.gate.data())});
  }
  const auto activate = config_.activation == Activation::kSilu   ? kernels_.silu
                        : config_.activation == Activation::kGelu ? kernels_.gelu
                                                                  : kernels_.swiglu_oai;
  threads_.run(n, [&](int row, int) {
    float* gate = &b.gate[size(row) * size(config_.ffn_dim)];
    activate(gate, config_.is_gated ? &b.up[size(row) * size(config_.ffn_dim)] : nullptr, gate,
             config_.ffn_dim);
  });
  multiply(std::array{product_of(ffn.down, b.gate.data(), n, out)});
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
