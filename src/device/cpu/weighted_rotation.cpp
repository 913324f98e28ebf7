// Rotation followed by norms with weights (Hunyuan), for keys that are stored once.
//
// A norm's divisor does not change with the rotation, so it is taken before. The weights u of q and
// k together multiply the score of a rotated pair (a, b) by
//
//   u_a q_a k_a + u_b q_b k_b  =  m (q_a k_a + q_b k_b)  +  d (q_a k_a - q_b k_b)
//
// with m = (u_a + u_b) / 2 and d = (u_a - u_b) / 2. The first part depends on the difference of the
// two positions, the second on their sum. Inside the cache, where the token p is at c and a key j
// of the window at c - (p - j), the sum is j + (2 c - p). So a key rotated at its true position j,
// without weights, meets
//
//   m R(p) q  +  d (R(2 c - p) q with the sign of b turned)
//
// and the score is that of the cache's places. For the sinks both positions are those in the cache.
#include <cstddef>

#include "device/cpu/rotate.h"

namespace runnel::cpu {

void rotate_with_weights(const AttentionLayer& layer, const AngleTable& angles, std::size_t at,
                         bool is_shifted, float* query, float* sink_query) {
  const int n = angles.n_pairs;
  const bool is_interleaved = layer.rope == RopeStyle::kInterleaved;
  const float* weights = layer.rotated_weights.data();
  for (int i = 0; i < n; ++i) {
    const int a = is_interleaved ? 2 * i : i;
    const int b = is_interleaved ? 2 * i + 1 : i + n;
    const float x = query[a];
    const float y = query[b];
    const std::size_t pair = at + static_cast<std::size_t>(i);
    const float re = x * angles.cosines[pair] - y * angles.sines[pair];
    const float im = x * angles.sines[pair] + y * angles.cosines[pair];
    if (!is_shifted) {
      query[a] = weights[a] * re;
      query[b] = weights[b] * im;
      continue;
    }
    const float mean = (weights[a] + weights[b]) / 2;
    const float difference = (weights[a] - weights[b]) / 2;
    const float mirror_cosine = angles.mirror_cosines[pair];
    const float mirror_sine = angles.mirror_sines[pair];
    query[a] = mean * re + difference * (x * mirror_cosine - y * mirror_sine);
    query[b] = mean * im - difference * (x * mirror_sine + y * mirror_cosine);
    const float sink_cosine = angles.sink_cosines[pair];
    const float sink_sine = angles.sink_sines[pair];
    sink_query[a] = weights[a] * (x * sink_cosine - y * sink_sine);
    sink_query[b] = weights[b] * (x * sink_sine + y * sink_cosine);
  }
  for (int i = 2 * n; i < layer.head_dim; ++i) {
    query[i] *= weights[i];
    if (is_shifted) sink_query[i] *= weights[i];
  }
}

}  // namespace runnel::cpu
