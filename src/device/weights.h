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

}  // namespace runnel
