// The keys and values of one stream, by slot: for each layer the sinks, kept for ever, and a ring
// of the last tokens.
//
// A position below the layer's sinks lives in its sink slot, any other in ring slot `position mod
// capacity`. The capacity holds the window and the largest chunk, so that when a chunk's keys are
// written none is overwritten that the chunk's first token still sees. Capacities are whole tiles:
// a position has the same lane whatever the capacity. Eviction is nothing but position() growing
// past what the layer sees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/large_pages.h"
#include "kernels/kernels.h"
#include "runnel/options.h"
#include "stream/policy.h"

namespace runnel {

struct CacheShape {
  std::vector<LayerSight> layers;  // one for each layer
  // Floats of constant state, by layer; a layer that has some has no keys and values. Empty: none.
  std::vector<int> state_sizes;
  int n_kv_heads = 0;
  int head_dim = 0;
  KvType type = KvType::kF16;
  int chunk = 1;  // the most tokens stored at once
  std::int64_t capacity =
      0;  // of rings without a window (dense): tokens to begin with; they double when full
  std::int64_t context = kUnbounded;  // the most tokens that one sees, itself included
};

class KvCache {
 public:
  // All memory is taken here, but for dense rings, which grow. Error: not enough memory.
  explicit KvCache(CacheShape shape);

  const CachePolicy& policy() const { return shape_.layers.front().stream; }
  const LayerSight& sight(int layer) const {
    return shape_.layers[static_cast<std::size_t>(layer)];
  }
  kernels::KvFormat format() const;  // of every area
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
  // reserved).
  void store(int layer, int head, std::int64_t position, const float* key, const float* value);
  void advance(int n) { position_ += n; }
  // Takes back the last n <= chunk tokens of one advance; the ring still holds all that is then
  // visible, and theirs too.
  void rewind(int n) { position_ -= n; }
  // Forgets everything; for a fresh forward.
  void clear();

  // The constant state of a layer, of its size in the shape; zeros before the first token. It is
  // part of all that is stored, and rewind() does not bring it back.
  float* state(int layer) {
    return reinterpret_cast<float*>(buffer_.get() + layers_[static_cast<std::size_t>(layer)].state);
  }
  bool has_state() const { return !shape_.state_sizes.empty(); }

  kernels::KvArea sinks(int layer, int head) const;
  kernels::KvArea ring(int layer, int head) const;

  std::size_t bytes() const { return n_bytes_; }
  static std::size_t bytes_of(const CacheShape& shape);

  // A cache of its own with the same content, guesses beyond position() included. Error: not enough
  // memory.
  KvCache clone() const;

  // For snapshots: all that is stored, as one block of bytes() bytes, and the position that goes
  // with it.
  std::span<const std::byte> raw() const { return {buffer_.get(), n_bytes_}; }
  // Takes what raw() gave for a cache of the same shape that had reached `position`. False when the
  // size is another.
  bool restore(std::span<const std::byte> raw, std::int64_t position);

 private:
  struct Area {
    std::size_t offset = 0;  // into the buffer
    std::int64_t n_tiles = 0;
    std::size_t head_bytes = 0;
  };
  struct Layer {
    Area sinks;
    Area ring;
    std::size_t state = 0;  // into the buffer
    std::size_t state_bytes = 0;
  };
  static std::vector<Layer> lay_out(const CacheShape& shape, std::size_t& n_bytes);
  static PageBuffer allocate(std::size_t n_bytes);
  kernels::KvArea view(const Area& area, int head, const PageBuffer& buffer) const;
  void grow(std::int64_t capacity);

  CacheShape shape_;
  std::vector<Layer> layers_;
  std::size_t n_bytes_ = 0;
  PageBuffer buffer_;
  std::int64_t position_ = 0;
  std::int64_t origin_ = 0;
};

}  // namespace runnel
