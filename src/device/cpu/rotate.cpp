#include "device/cpu/rotate.h"

namespace runnel::cpu {
namespace {

// Pairs (first[i * kStep], second[i * kStep]). What is said not to overlap fills vectors.
template <int kStep>
void rotate_pairs(int n_pairs, const float* __restrict cosines, const float* __restrict sines,
                  float* __restrict first, float* __restrict second) {
  for (int i = 0; i < n_pairs; ++i) {
    const float x = first[i * kStep];
    const float y = second[i * kStep];
    first[i * kStep] = x * cosines[i] - y * sines[i];
    second[i * kStep] = x * sines[i] + y * cosines[i];
  }
}

}  // namespace

void rotate(RopeStyle style, int n_pairs, const float* cosines, const float* sines, float* head) {
  style == RopeStyle::kInterleaved ? rotate_pairs<2>(n_pairs, cosines, sines, head, head + 1)
                                   : rotate_pairs<1>(n_pairs, cosines, sines, head, head + n_pairs);
}

}  // namespace runnel::cpu
