#include "stream/key_centre.h"

#include <algorithm>
#include <cstddef>

#include "stream/key_pairs.h"

namespace runnel {
namespace {

std::size_t n_rotated(const KeyRotation& rotation) {
  return 2 * static_cast<std::size_t>(rotation.n_pairs);
}

}  // namespace

void unrotate(const KeyRotation& rotation, const PositionAngles& angles, std::span<const float> key,
              float* out) {
  std::copy(key.begin(), key.end(), out);
  for_each_pair(rotation, [&](std::size_t i, std::size_t x, std::size_t y) {
    const float c = angles.cosines[i];
    const float s = angles.sines[i];
    const float square = c * c + s * s;  // of a magnitude, where positions scale as well
    out[x] = (key[x] * c + key[y] * s) / square;
    out[y] = (key[y] * c - key[x] * s) / square;
  });
}

void subtract_mean(const KeyRotation& rotation, const PositionAngles& angles, const float* mean,
                   std::span<float> key) {
  for_each_pair(rotation, [&](std::size_t i, std::size_t x, std::size_t y) {
    key[x] -= mean[x] * angles.cosines[i] - mean[y] * angles.sines[i];
    key[y] -= mean[x] * angles.sines[i] + mean[y] * angles.cosines[i];
  });
  for (std::size_t d = n_rotated(rotation); d < key.size(); ++d) key[d] -= mean[d];
}

void project_on_angles(const KeyRotation& rotation, const float* mean, std::span<const float> query,
                       float* out) {
  for_each_pair(rotation, [&](std::size_t i, std::size_t x, std::size_t y) {
    out[2 * i] = query[x] * mean[x] + query[y] * mean[y];
    out[2 * i + 1] = query[y] * mean[x] - query[x] * mean[y];
  });
  if (n_rotated(rotation) >= query.size()) return;
  float rest = 0;
  for (std::size_t d = n_rotated(rotation); d < query.size(); ++d) rest += query[d] * mean[d];
  out[n_rotated(rotation)] = rest;
}

float angle_of(const KeyRotation& rotation, const PositionAngles& angles, int index) {
  if (index >= 2 * rotation.n_pairs) return 1;
  return index % 2 == 0 ? angles.cosines[index / 2] : angles.sines[index / 2];
}

}  // namespace runnel
