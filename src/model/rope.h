// Rotary position embedding (RoFormer, arXiv 2104.09864), with the scalings that keep scores a
// function of distance: none, linear, per-frequency factors (Llama 3) and YaRN (arXiv 2309.00071).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/terms.h"

namespace runnel {

struct Rope {
  RopeStyle style = RopeStyle::kNone;
  std::vector<double>
      frequencies;      // radians a position, one for each pair; 2 * size() dimensions are rotated
  float magnitude = 1;  // YaRN scales the rotated dimensions of queries and keys

  int n_pairs() const { return static_cast<int>(frequencies.size()); }
};

struct RopeScaling {
  enum class Kind { kNone, kLinear, kYarn } kind = Kind::kNone;
  double factor = 1;            // context extension
  double original_context = 0;  // YaRN: tokens
  double attention_factor = 1;  // YaRN
  double beta_fast = 32;  // YaRN: rotations within the original context above which nothing changes
  double beta_slow = 1;   // and below which positions are interpolated
  double log_multiplier = 0;  // YaRN: the attention factor is divided by that of this multiplier
};

// `factors`, when not empty, divides each frequency (size dims / 2).
Rope make_rope(RopeStyle style, int dims, double base, const RopeScaling& scaling,
               std::span<const float> factors);

// Cosines and sines of a position, [n_pairs] each. Angles are formed in double, product error
// included, so that a position of 10^10 is as exact as one of 10.
void rope_angles(const Rope& rope, std::int64_t position, float* cosines, float* sines);

}  // namespace runnel
