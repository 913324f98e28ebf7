#include "kernels/attention/hadamard.h"

#include <cmath>

namespace runnel::kernels {

void hadamard(float* x, int n) {
  const int stretch = n & -n;
  const float scale = 1.0f / std::sqrt(static_cast<float>(stretch));
  for (int half = 1; half < stretch; half *= 2) {
    for (int first = 0; first < n; first += 2 * half) {
      for (int i = first; i < first + half; ++i) {
        const float a = x[i];
        const float b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  for (int i = 0; i < n; ++i) x[i] *= scale;
}

}  // namespace runnel::kernels
