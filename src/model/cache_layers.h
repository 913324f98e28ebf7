// What the layers of a model keep in a stream's cache.
#pragma once

#include <span>

#include "model/config.h"
#include "stream/kv_cache.h"

namespace runnel {

// How the decoder rotates a layer's keys.
inline KeyRotation key_rotation(const Config& config, int layer) {
  if (!config.is_rotated(layer)) return {.kind = -1};
  const bool is_local = config.local_window(layer) > 0;
  const Rope& rope = is_local ? config.local_rope : config.rope;
  return {is_local ? 1 : 0, rope.n_pairs(), config.rope.style == RopeStyle::kInterleaved};
}

// Sets what `shape` says by layer; a layer that attends to another's keys and values keeps none,
// and sees what that one sees. `windows`: of the layers that keep some, or empty: the policy's.
inline void shape_layers(const Config& config, const CachePolicy& policy, CacheShape& shape,
                         std::span<const std::int64_t> windows = {}) {
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const Heads heads = config.heads(layer);
    CachePolicy own = policy;
    if (config.has_keys(layer) && !windows.empty()) {
      own.window = windows.front();
      windows = windows.subspan(1);
    }
    const bool is_shared = config.mixer(layer) == Mixer::kAttention && !config.has_keys(layer);
    shape.layers.push_back(is_shared
                               ? shape.layers[static_cast<std::size_t>(config.key_layer(layer))]
                               : LayerSight::of(own, config.local_window(layer)));
    shape.keeps_newest = shape.keeps_newest && !is_shared;
    shape.rotations.push_back(key_rotation(config, layer));
    shape.heads.push_back({config.has_keys(layer) ? heads.n_kv_heads : 0, heads.head_dim});
    if (config.has_state()) shape.state_sizes.push_back(config.state_size(layer));
  }
}

}  // namespace runnel
