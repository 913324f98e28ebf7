// What the layers of a model keep in a stream's cache.
#pragma once

#include "model/config.h"
#include "stream/kv_cache.h"

namespace runnel {

// Sets what `shape` says by layer; a layer that attends to another's keys and values keeps none.
inline void shape_layers(const Config& config, const CachePolicy& policy, CacheShape& shape) {
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const Heads heads = config.heads(layer);
    shape.layers.push_back(LayerSight::of(policy, config.local_window(layer)));
    shape.heads.push_back({config.has_keys(layer) ? heads.n_kv_heads : 0, heads.head_dim});
    if (config.has_state()) shape.state_sizes.push_back(config.state_size(layer));
  }
}

}  // namespace runnel
