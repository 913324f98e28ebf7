#include "stream/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "runnel/error.h"

namespace runnel {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

std::int64_t tiles_for(std::int64_t n_slots) {
  return (n_slots + kernels::kTile - 1) / kernels::kTile;
}

std::size_t element_bytes(KvType type) {
  switch (type) {
    case KvType::kF32:
      return 4;
    case KvType::kF16:
    case KvType::kBF16:
      return 2;
    case KvType::kQ8_0:
      return 1;
  }
  std::abort();
}

// Bytes of the keys (the values take the same) and of their scales in one head of an area.
struct HeadBytes {
  std::size_t elements;
  std::size_t scales;
};
HeadBytes head_bytes(const CacheShape& shape, std::int64_t n_tiles) {
  const auto n_slots = static_cast<std::size_t>(n_tiles) * kernels::kTile;
  const auto n_blocks = static_cast<std::size_t>(shape.head_dim + 31) / 32;
  return {round_up(n_slots * static_cast<std::size_t>(shape.head_dim) * element_bytes(shape.type),
                   kAlignment),
          shape.type == KvType::kQ8_0 ? round_up(n_slots * n_blocks * 2, kAlignment) : 0};
}

}  // namespace

PageBuffer KvCache::allocate(std::size_t n_bytes) try {
  PageBuffer buffer = take_pages(n_bytes);
  std::memset(buffer.get(), 0, n_bytes);  // the memory is really there
  return buffer;
} catch (const std::bad_alloc&) {
  throw Error(fmt::format("cache: want {} bytes, and there is not so much memory", n_bytes));
}

std::vector<KvCache::Layer> KvCache::lay_out(const CacheShape& shape, std::size_t& n_bytes) {
  n_bytes = 0;
  const auto place = [&](std::int64_t n_tiles) {
    const HeadBytes bytes = head_bytes(shape, n_tiles);
    const Area area = {n_bytes, n_tiles, 2 * (bytes.elements + bytes.scales)};
    n_bytes += area.head_bytes * static_cast<std::size_t>(shape.n_kv_heads);
    return area;
  };
  std::vector<Layer> layers;
  layers.reserve(shape.layers.size());
  for (std::size_t i = 0; i < shape.layers.size(); ++i) {
    if (!shape.state_sizes.empty() && shape.state_sizes[i] > 0) {
      const std::size_t state_bytes =
          static_cast<std::size_t>(shape.state_sizes[i]) * sizeof(float);
      layers.push_back({.state = n_bytes, .state_bytes = state_bytes});
      n_bytes += round_up(state_bytes, kAlignment);
      continue;
    }
    const LayerSight& sight = shape.layers[i];
    const std::int64_t slots = sight.window >= kUnbounded
                                   ? std::max<std::int64_t>(shape.capacity, shape.chunk)
                                   : sight.window + shape.chunk;
    const Area sinks = place(tiles_for(sight.sinks));
    layers.push_back({sinks, place(std::max<std::int64_t>(tiles_for(slots), 1))});
  }
  return layers;
}

KvCache::KvCache(CacheShape shape) : shape_(std::move(shape)) {
  shape_.capacity = std::max<std::int64_t>(shape_.capacity, shape_.chunk);
  layers_ = lay_out(shape_, n_bytes_);
  buffer_ = allocate(n_bytes_);
}

std::size_t KvCache::bytes_of(const CacheShape& shape) {
  std::size_t n_bytes = 0;
  lay_out(shape, n_bytes);
  return n_bytes;
}

kernels::KvArea KvCache::view(const Area& area, int head, const PageBuffer& buffer) const {
  const HeadBytes bytes = head_bytes(shape_, area.n_tiles);
  std::byte* p = buffer.get() + area.offset + static_cast<std::size_t>(head) * area.head_bytes;
  auto* scales = reinterpret_cast<std::uint16_t*>(p + 2 * bytes.elements);
  return {.keys = p,
          .values = p + bytes.elements,
          .key_scales = scales,
          .value_scales = scales + bytes.scales / 2,
          .n_tiles = area.n_tiles};
}

kernels::KvArea KvCache::sinks(int layer, int head) const {
  return view(layers_[static_cast<std::size_t>(layer)].sinks, head, buffer_);
}

kernels::KvArea KvCache::ring(int layer, int head) const {
  return view(layers_[static_cast<std::size_t>(layer)].ring, head, buffer_);
}

kernels::KvFormat KvCache::format() const {
  switch (shape_.type) {
    case KvType::kF32:
      return kernels::KvFormat::kF32;
    case KvType::kF16:
      return kernels::KvFormat::kF16;
    case KvType::kBF16:
      return kernels::KvFormat::kBF16;
    case KvType::kQ8_0:
      return kernels::KvFormat::kQ8_0;
  }
  std::abort();
}

void KvCache::store(int layer, int head, std::int64_t position, const float* key,
                    const float* value) {
  const bool is_sink = position < sight(layer).sinks;
  const kernels::KvArea area = is_sink ? sinks(layer, head) : ring(layer, head);
  const std::int64_t slot = is_sink ? position : position % (area.n_tiles * kernels::kTile);
  kernels::store_kv(format(), area, shape_.head_dim, slot, key, value);
}

void KvCache::clear() {
  position_ = 0;
  for (const Layer& layer : layers_) {
    if (layer.state_bytes > 0) std::memset(buffer_.get() + layer.state, 0, layer.state_bytes);
  }
}

void KvCache::reserve(int n) {
  const bool is_dense =
      std::any_of(shape_.layers.begin(), shape_.layers.end(),
                  [](const LayerSight& sight) { return sight.window >= kUnbounded; });
  if (is_dense && position_ + n > shape_.capacity)
    grow(std::max(position_ + n, 2 * shape_.capacity));
}

// In a ring that never wrapped slot and position agree, so heads are copied as they are.
void KvCache::grow(std::int64_t capacity) {
  const std::vector<Layer> old_layers = layers_;
  CacheShape shape = shape_;
  shape.capacity = capacity;
  std::size_t n_bytes = 0;
  std::vector<Layer> layers = lay_out(shape, n_bytes);
  PageBuffer buffer = allocate(n_bytes);
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    if (layers[layer].state_bytes > 0) {
      std::memcpy(buffer.get() + layers[layer].state, buffer_.get() + old_layers[layer].state,
                  layers[layer].state_bytes);
      continue;
    }
    for (int head = 0; head < shape.n_kv_heads; ++head) {
      for (const auto area : {&Layer::sinks, &Layer::ring}) {
        const kernels::KvArea from = view(old_layers[layer].*area, head, buffer_);
        const kernels::KvArea to = view(layers[layer].*area, head, buffer);
        const HeadBytes bytes = head_bytes(shape, from.n_tiles);
        std::memcpy(to.keys, from.keys, bytes.elements);
        std::memcpy(to.values, from.values, bytes.elements);
        std::memcpy(to.key_scales, from.key_scales, bytes.scales);
        std::memcpy(to.value_scales, from.value_scales, bytes.scales);
      }
    }
  }
  shape_ = std::move(shape);
  layers_ = std::move(layers);
  buffer_ = std::move(buffer);
  n_bytes_ = n_bytes;
}

KvCache KvCache::clone() const {
  KvCache copy(shape_);
  copy.restore(raw(), position_);
  copy.origin_ = origin_;
  return copy;
}

bool KvCache::restore(std::span<const std::byte> raw, std::int64_t position) {
  if (raw.size() != n_bytes_) return false;
  std::memcpy(buffer_.get(), raw.data(), raw.size());
  position_ = position;
  return true;
}

}  // namespace runnel
