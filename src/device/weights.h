// The weights that operations take: matrices stay in the mapped file as stored, vectors are copied
// to floats.
#pragma once

#include <vector>

#include "kernels/kernels.h"

namespace runnel {

using kernels::Matrix;
using Vector = std::vector<float>;  // empty: absent

struct Linear {
  Matrix weight;  // [out, in]; null: absent
  Vector bias;    // [out] or absent
};

struct NormWeights {
  Vector weight;  // absent: no normalisation here
  Vector bias;
  explicit operator bool() const { return !weight.empty(); }
};

// One gated ffn, or one expert.
struct FeedForward {
  Linear gate;  // absent where the ffn is not gated
  Linear up;
  Linear down;
};

// What a token has for each layer beside its embedding: a row of a table of its own, joined by a
// normalised part of a product with the embedding.
struct LayerInputWeights {
  Matrix table;       // [vocabulary, n_layers * width]; absent: no such inputs
  Linear projection;  // [n_layers * width, dim]
  NormWeights norm;   // of each layer's part: [width]
};

// What one layer makes of it: x += norm(output(gelu(gate x) * its part)).
struct LayerInput {
  Linear gate;    // [width, dim]; absent: nothing
  Linear output;  // [dim, width]
};

// A dense ffn beside the experts, with norms of its own; theirs come with it.
struct DenseBeside {
  NormWeights router_norm;       // of what the router takes
  NormWeights norm, post_norm;   // of the ffn
  NormWeights expert_post_norm;  // of the experts' sum
  Vector expert_scales;          // [n_experts]: factors of their shares, or absent
};

// One gated delta net.
struct DeltaNetWeights {
  Linear qkv;          // [conv_dim, dim]; absent: another kind of layer
  Linear gate;         // [value_dim, dim]
  Linear beta, alpha;  // [n_value_heads, dim] each, or both in beta, by key head: its betas, then
                       // its alphas
  Vector convolution;  // [conv_dim, conv_width], the oldest token first
  Vector decay;        // [n_value_heads]: negative
  Vector decay_bias;   // [n_value_heads]
  NormWeights norm;    // of each head: [head_dim]
  Linear output;       // [dim, value_dim]
};

// One short convolution.
struct ShortConvWeights {
  Linear input;        // [3 * dim, dim]: of a gate before, a gate behind, and what is convolved;
                       // absent: another kind of layer
  Vector convolution;  // [dim, width], the oldest token first
  Linear output;       // [dim, dim]
};

}  // namespace runnel
