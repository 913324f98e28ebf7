// Writing one key and one value into their slot of the cache. One position a layer and head: not
// worth a kernel.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/attention/kv_codes.h"
#include "kernels/kernels.h"

namespace runnel::kernels {
namespace {

// Quantises up to 32 floats to int8 with one scale, as Q8_0 does; returns the scale, rounded to
// f16.
std::uint16_t quantize_block(const float* x, int n, std::int8_t* out) {
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  const std::uint16_t scale = f32_to_f16(largest / 127.0f);
  const float inverse = f16_to_f32(scale) > 0 ? 1.0f / f16_to_f32(scale) : 0.0f;
  for (int i = 0; i < n; ++i) {
    out[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(x[i] * inverse), -127.0f, 127.0f));
  }
  return scale;
}

template <typename Element, typename Convert>
void store_elements(const KvArea& area, int head_dim, std::int64_t slot, const float* key,
                    const float* value, Convert convert) {
  auto* keys =
      reinterpret_cast<Element*>(area.keys) + slot / kTile * head_dim * kTile + slot % kTile;
  auto* values = reinterpret_cast<Element*>(area.values) + slot * head_dim;
  for (int d = 0; d < head_dim; ++d) keys[static_cast<std::ptrdiff_t>(d) * kTile] = convert(key[d]);
  for (int d = 0; d < head_dim; ++d) values[d] = convert(value[d]);
}

void store_q8(const KvArea& area, int head_dim, std::int64_t slot, const float* key,
              const float* value) {
  const int n_blocks = (head_dim + 31) / 32;
  const std::int64_t tile = slot / kTile;
  const std::int64_t lane = slot % kTile;
  auto* keys = reinterpret_cast<std::int8_t*>(area.keys) + tile * head_dim * kTile + lane;
  auto* values = reinterpret_cast<std::int8_t*>(area.values) + slot * head_dim;
  for (int block = 0; block < n_blocks; ++block) {
    const int first = block * 32;
    const int n = std::min(32, head_dim - first);
    std::int8_t quants[32];
    area.key_scales[(tile * n_blocks + block) * kTile + lane] =
        quantize_block(key + first, n, quants);
    for (int i = 0; i < n; ++i) keys[static_cast<std::ptrdiff_t>(first + i) * kTile] = quants[i];
    area.value_scales[slot * n_blocks + block] = quantize_block(value + first, n, values + first);
  }
}

void store_q4(const KvArea& area, int head_dim, std::int64_t slot, const float* key,
              const float* value) {
  const int n_blocks = (head_dim + kKvBlock - 1) / kKvBlock;
  const std::int64_t tile = slot / kTile;
  const std::int64_t lane = slot % kTile;
  auto* keys =
      reinterpret_cast<std::uint8_t*>(area.keys) + tile * ((head_dim + 1) / 2) * kTile + lane;
  auto* values = reinterpret_cast<std::uint8_t*>(area.values) + slot * ((head_dim + 31) / 32) * 16;
  auto* key_scales = reinterpret_cast<std::uint8_t*>(area.key_scales) + tile * n_blocks * kTile;
  auto* value_scales = reinterpret_cast<std::uint8_t*>(area.value_scales) + slot * n_blocks;
  for (int block = 0; block < n_blocks; ++block) {
    const int first = block * kKvBlock;
    const int n = std::min(kKvBlock, head_dim - first);
    std::uint8_t codes[kKvBlock] = {};
    key_scales[block * kTile + lane] = quantize_codes(key + first, n, codes);
    for (int i = 0; i < n; i += 2) {
      keys[static_cast<std::ptrdiff_t>(first + i) / 2 * kTile] =
          static_cast<std::uint8_t>(codes[i] | codes[i + 1] << 4);
    }
    value_scales[block] = quantize_codes(value + first, n, codes);
    std::uint8_t* const row = values + first / 32 * 16;
    for (int i = 0; i < kKvBlock; ++i) {
      row[i] = static_cast<std::uint8_t>(block % 2 == 0 ? codes[i] : (row[i] & 15) | codes[i] << 4);
    }
  }
}

}  // namespace

void store_kv(const KvArea& area, int head_dim, std::int64_t slot, const float* key,
              const float* value) {
  switch (area.format) {
    case KvFormat::kF32:
      return store_elements<float>(area, head_dim, slot, key, value, [](float x) { return x; });
    case KvFormat::kF16:
      return store_elements<std::uint16_t>(area, head_dim, slot, key, value, f32_to_f16);
    case KvFormat::kBF16:
      return store_elements<std::uint16_t>(area, head_dim, slot, key, value, f32_to_bf16);
    case KvFormat::kQ8_0:
      return store_q8(area, head_dim, slot, key, value);
    case KvFormat::kQ4_0:
      return store_q4(area, head_dim, slot, key, value);
  }
}

}  // namespace runnel::kernels
