// The keys and values of one stream, by slot: for each layer the sinks, kept for ever, and a ring
// of the last tokens.
//
// A position below the layer's sinks lives in its sink slot, any other in ring slot `position mod
// capacity`. The capacity holds the window and the largest chunk, so that when a chunk's keys are
// written none is overwritten that the chunk's first token still sees. Capacities are whole tiles:
// a position has the same lane whatever the capacity. Eviction is nothing but position() growing
// past what the layer sees.
//
// A ring of codes of 4 bits has its last tokens once more, in f16 and a small ring of their own:
// these are the keys that a token attends to most, and nearly all of what rounding to codes would
// change.
//
// A rotated cache holds keys and values of the ring multiplied by the Hadamard matrix, keys without
// their head's mean (key_centre.h) and balanced; sinks are multiplied too, and in f16. Who attends
// multiplies queries likewise, and what comes out once more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "runnel/options.h"
#include "stream/key_centre.h"
#include "stream/kv_memory.h"
#include "stream/policy.h"

namespace runnel {

struct KvHeads {
  int n = 0;    // 0: the layer stores nothing
  int dim = 0;  // of each
};

inline constexpr std::int64_t kMostNewestTiles = 4;  // see KvCache::n_newest

struct CacheShape {
  std::vector<LayerSight> layers;  // one for each layer
  // Floats of constant state, by layer; a layer that has some has no keys and values. Empty: none.
  std::vector<int> state_sizes;
  // Whose memory each layer's part is, null: the processor's; or empty: the processor's all. Layers
  // of one source follow one another.
  std::vector<KvMemorySource*> sources;
  std::vector<KvHeads> heads;  // one for each layer
  KvType type = KvType::kF16;
  bool is_rotated = false;             // in the processor's memory only, as kQ4_0
  std::vector<KeyRotation> rotations;  // by layer, of a rotated cache
  // By layer, of a rotated cache: what the ring's keys are multiplied with before the Hadamard
  // matrix, and queries divided by [heads.n, heads.dim] (model/key_balance.h). Empty: nothing.
  std::span<const std::vector<float>> balances;
  int chunk = 1;  // the most tokens stored at once
  // The most tokens taken back at once, where it matters (draft): the newest tokens' ring holds as
  // many more.
  int guesses = 0;
  // False: a ring of codes alone, for layers that attend to other layers' keys.
  bool keeps_newest = true;
  std::int64_t capacity =
      0;  // of rings without a window (dense): tokens to begin with; they double when full
  std::int64_t context = kUnbounded;  // the most tokens that one sees, itself included
};

class KvCache {
 public:
  // All memory is taken here, but for dense rings, which grow. Error: not enough memory.
  explicit KvCache(CacheShape shape);

  const CachePolicy& policy() const { return policy_; }  // of the layer that sees most
  const LayerSight& sight(int layer) const {
    return shape_.layers[static_cast<std::size_t>(layer)];
  }
  kernels::KvFormat format() const;  // of rings, and of sinks but for kQ4_0 and rotated caches
  bool is_rotated() const { return shape_.is_rotated; }
  int chunk() const { return shape_.chunk; }
  std::int64_t capacity() const {
    return shape_.capacity;
  }  // see CacheShape; for snapshots of dense streams

  std::int64_t context() const { return shape_.context; }
  std::int64_t position() const { return position_; }  // tokens stored so far
  std::int64_t origin() const { return origin_; }  // added to positions where they become angles
  void set_origin(std::int64_t origin) { origin_ = origin; }

  // Makes room for n <= chunk more tokens (only dense rings move). Error: not enough memory;
  // nothing has changed then.
  void reserve(int n);
  // Writes the key and value, [head_dim] each, of a position in [position(), position() + n
  // reserved). `angles`: that the key was rotated by, where the cache is rotated. `newest`: where
  // they go in f16 too, unless it is a sink; its slots count positions as the ring's do.
  void store(int layer, int head, std::int64_t position, const float* key, const float* value,
             const PositionAngles& angles = {}, const kernels::KvArea* newest = nullptr);
  // Whether a layer's means come to be with this position: it is stored after those before it, and
  // before those behind it.
  bool makes_means(int layer, std::int64_t position) const;
  void advance(int n) { position_ += n; }
  // Takes back the last n <= most_rewound() tokens of one advance; the ring still holds all that is
  // then visible, and theirs too.
  void rewind(int n) { position_ -= n; }
  // Forgets everything; for a fresh forward.
  void clear();

  // The constant state of a layer, of its size in the shape; zeros before the first token. It is
  // part of all that is stored, and rewind() does not bring it back.
  float* state(int layer);
  bool has_state() const { return !shape_.state_sizes.empty(); }

  // Of layers in the processor's memory.
  kernels::KvArea sinks(int layer, int head) const;
  kernels::KvArea ring(int layer, int head) const;
  // The ring of the last tokens in f16, with no mean taken off and nothing added by angles.
  bool has_newest() const { return shape_.type == KvType::kQ4_0 && shape_.keeps_newest; }
  kernels::KvArea newest(int layer, int head) const;
  // How many tokens of a layer are attended to there, the token itself included: an eighth of its
  // window, from 16 to 64.
  std::int64_t n_newest(int layer) const { return n_newest(sight(layer)); }
  // The most tokens that rewind() may take back.
  int most_rewound() const {
    return has_newest() ? shape_.guesses + static_cast<int>(kernels::kTile) : shape_.chunk;
  }

  // Of a rotated cache: the mean of a head's keys [head_dim], and the angles of a layer's ring, f16
  // [ring tiles, n_angles, kTile].
  const float* mean(int layer, int head) const;
  std::span<const float> balance(int layer, int head) const;  // [head_dim], or empty
  const std::uint16_t* angles(int layer) const;
  int n_angles(int layer) const;
  const KeyRotation& rotation(int layer) const {
    return shape_.rotations[static_cast<std::size_t>(layer)];
  }

  // Where a device finds a layer: offsets and sizes in bytes.
  struct Place {
    std::size_t offset = 0;         // of the area in its memory
    std::size_t head_bytes = 0;     // from one head to the next
    std::size_t element_bytes = 0;  // of a head's keys; its values follow, then the keys' scales
    std::size_t scale_bytes = 0;    // of the keys' scales; the values' follow
    std::int64_t n_tiles = 0;
  };
  struct LayerPlace {
    KvMemory* memory = nullptr;
    Place sinks, ring;
  };
  LayerPlace place(int layer) const;

  std::size_t bytes() const { return layout_.n_bytes; }
  static std::size_t bytes_of(const CacheShape& shape);

  // A cache of its own with the same content, guesses beyond position() included. Error: not enough
  // memory.
  KvCache clone() const;

  // For snapshots: all that is stored, bytes() bytes in order of layers, wherever they lie; and the
  // position goes with it. `room` is used where the bytes are not at hand.
  std::span<const std::byte> raw(std::vector<std::byte>& room) const;
  // Takes what raw() gave for a cache of the same shape that had reached `position`. False when the
  // size is another.
  bool restore(std::span<const std::byte> raw, std::int64_t position);

 private:
  struct Area {
    std::size_t offset = 0;  // into the layer's memory
    std::int64_t n_tiles = 0;
    std::size_t head_bytes = 0;
  };
  struct Layer {
    Area sinks;
    Area ring;
    Area newest;
    std::size_t centre = 0;  // into the layer's memory: of each head some keys, f16, and their mean
    std::size_t centre_bytes = 0;  // of a head
    std::size_t angles = 0;        // into the layer's memory
    std::size_t angle_bytes = 0;   // 0: they are an earlier layer's, for which they are the same
    std::size_t state = 0;         // into the layer's memory
    std::size_t state_bytes = 0;
    std::size_t part = 0;
  };
  // One stretch of layers in one memory.
  struct Part {
    KvMemorySource* source = nullptr;
    std::size_t n_bytes = 0;
    std::unique_ptr<KvMemory> memory;
  };
  struct Layout {
    std::vector<Layer> layers;
    std::vector<Part> parts;  // without memory
    std::size_t n_bytes = 0;
  };
  const KvHeads& heads(int layer) const { return shape_.heads[static_cast<std::size_t>(layer)]; }
  static std::int64_t n_newest(const LayerSight& sight) {
    return std::clamp<std::int64_t>(
        sight.window / 8 / kernels::kTile * kernels::kTile + kernels::kTile, kernels::kTile,
        kMostNewestTiles * kernels::kTile);
  }
  static Layout lay_out(const CacheShape& shape);
  static void lay_out_centre(const CacheShape& shape, std::size_t layer, Layout& layout);
  static void allocate(Layout& layout);
  const Layer& of(int layer) const { return layout_.layers[static_cast<std::size_t>(layer)]; }
  std::byte* host(const Layer& layer) const { return layout_.parts[layer.part].memory->host(); }
  KvType type_of(const Layer& layer, const Area& area) const;
  kernels::KvArea view(int layer, const Area& area, int head) const;
  void put(const kernels::KvArea& area, int layer, int head, std::int64_t position,
           const float* key, const float* value) const;
  std::int64_t centred_from(int layer) const;
  void centre(int layer, int head, std::int64_t position, const PositionAngles& angles,
              std::span<float> key);
  void write_angles(int layer, std::int64_t position, const PositionAngles& angles);
  void grow(std::int64_t capacity);

  CacheShape shape_;
  CachePolicy policy_;
  Layout layout_;
  std::int64_t position_ = 0;
  std::int64_t origin_ = 0;
};

}  // namespace runnel
