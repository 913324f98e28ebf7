#include "stream/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/large_pages.h"
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
HeadBytes head_bytes(KvType type, int head_dim, std::int64_t n_tiles) {
  const auto n_slots = static_cast<std::size_t>(n_tiles) * kernels::kTile;
  const auto n_blocks = static_cast<std::size_t>(head_dim + 31) / 32;
  return {round_up(n_slots * static_cast<std::size_t>(head_dim) * element_bytes(type), kAlignment),
          type == KvType::kQ8_0 ? round_up(n_slots * n_blocks * 2, kAlignment) : 0};
}

class HostMemory final : public KvMemory {
 public:
  explicit HostMemory(std::size_t n_bytes) : buffer_(take_pages(n_bytes)) {
    std::memset(buffer_.get(), 0, n_bytes);  // the memory is really there
  }
  std::byte* host() override { return buffer_.get(); }
  void read(std::size_t offset, std::span<std::byte> bytes) const override {
    if (!bytes.empty()) std::memcpy(bytes.data(), buffer_.get() + offset, bytes.size());
  }
  void write(std::size_t offset, std::span<const std::byte> bytes) override {
    if (!bytes.empty()) std::memcpy(buffer_.get() + offset, bytes.data(), bytes.size());
  }

 private:
  PageBuffer buffer_;
};

std::unique_ptr<KvMemory> take_host_memory(std::size_t n_bytes) try {
  return std::make_unique<HostMemory>(n_bytes);
} catch (const std::bad_alloc&) {
  throw Error(fmt::format("cache: want {} bytes, and there is not so much memory", n_bytes));
}

}  // namespace

KvCache::Layout KvCache::lay_out(const CacheShape& shape) {
  Layout layout;
  layout.layers.reserve(shape.layers.size());
  for (std::size_t i = 0; i < shape.layers.size(); ++i) {
    KvMemorySource* const source = shape.sources.empty() ? nullptr : shape.sources[i];
    if (layout.parts.empty() || layout.parts.back().source != source)
      layout.parts.push_back({source, 0, nullptr});
    Part& part = layout.parts.back();
    const KvHeads& heads = shape.heads[i];
    const auto place = [&](std::int64_t n_tiles) {
      const HeadBytes bytes = head_bytes(shape.type, heads.dim, n_tiles);
      const Area area = {part.n_bytes, n_tiles, 2 * (bytes.elements + bytes.scales)};
      part.n_bytes += area.head_bytes * static_cast<std::size_t>(heads.n);
      return area;
    };
    if (!shape.state_sizes.empty() && shape.state_sizes[i] > 0) {
      const std::size_t state_bytes =
          static_cast<std::size_t>(shape.state_sizes[i]) * sizeof(float);
      layout.layers.push_back(
          {.state = part.n_bytes, .state_bytes = state_bytes, .part = layout.parts.size() - 1});
      part.n_bytes += round_up(state_bytes, kAlignment);
      continue;
    }
    const LayerSight& sight = shape.layers[i];
    const std::int64_t slots = sight.window >= kUnbounded
                                   ? std::max<std::int64_t>(shape.capacity, shape.chunk)
                                   : sight.window + shape.chunk;
    const Area sinks = place(tiles_for(sight.sinks));
    layout.layers.push_back({.sinks = sinks,
                             .ring = place(std::max<std::int64_t>(tiles_for(slots), 1)),
                             .part = layout.parts.size() - 1});
  }
  for (const Part& part : layout.parts) layout.n_bytes += part.n_bytes;
  return layout;
}

void KvCache::allocate(Layout& layout) {
  for (Part& part : layout.parts)
    part.memory =
        part.source == nullptr ? take_host_memory(part.n_bytes) : part.source->take(part.n_bytes);
}

KvCache::KvCache(CacheShape shape) : shape_(std::move(shape)) {
  shape_.capacity = std::max<std::int64_t>(shape_.capacity, shape_.chunk);
  layout_ = lay_out(shape_);
  allocate(layout_);
}

std::size_t KvCache::bytes_of(const CacheShape& shape) { return lay_out(shape).n_bytes; }

KvCache::LayerPlace KvCache::place(int layer) const {
  const Layer& l = layout_.layers[static_cast<std::size_t>(layer)];
  const auto of = [&](const Area& area) {
    const HeadBytes bytes = head_bytes(shape_.type, heads(layer).dim, area.n_tiles);
    return Place{area.offset, area.head_bytes, bytes.elements, bytes.scales, area.n_tiles};
  };
  return {layout_.parts[l.part].memory.get(), of(l.sinks), of(l.ring)};
}

kernels::KvArea KvCache::view(int layer, const Area& area, int head) const {
  const HeadBytes bytes = head_bytes(shape_.type, heads(layer).dim, area.n_tiles);
  const Layer& l = layout_.layers[static_cast<std::size_t>(layer)];
  std::byte* p = layout_.parts[l.part].memory->host() + area.offset +
                 static_cast<std::size_t>(head) * area.head_bytes;
  auto* scales = reinterpret_cast<std::uint16_t*>(p + 2 * bytes.elements);
  return {.keys = p,
          .values = p + bytes.elements,
          .key_scales = scales,
          .value_scales = scales + bytes.scales / 2,
          .n_tiles = area.n_tiles};
}

kernels::KvArea KvCache::sinks(int layer, int head) const {
  return view(layer, layout_.layers[static_cast<std::size_t>(layer)].sinks, head);
}

kernels::KvArea KvCache::ring(int layer, int head) const {
  return view(layer, layout_.layers[static_cast<std::size_t>(layer)].ring, head);
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
  kernels::store_kv(format(), area, heads(layer).dim, slot, key, value);
}

void KvCache::clear() {
  position_ = 0;
  for (const Layer& layer : layout_.layers) {
    const std::vector<std::byte> zeros(layer.state_bytes);
    layout_.parts[layer.part].memory->write(layer.state, zeros);
  }
}

float* KvCache::state(int layer) {
  const Layer& l = layout_.layers[static_cast<std::size_t>(layer)];
  return reinterpret_cast<float*>(layout_.parts[l.part].memory->host() + l.state);
}

void KvCache::reserve(int n) {
  const bool is_dense =
      std::any_of(shape_.layers.begin(), shape_.layers.end(),
                  [](const LayerSight& sight) { return sight.window >= kUnbounded; });
  if (is_dense && position_ + n > shape_.capacity)
    grow(std::max(position_ + n, 2 * shape_.capacity));
}

// In a ring that never wrapped slot and position agree, so heads are copied as they are: of each
// the keys, the values and the scales of both.
void KvCache::grow(std::int64_t capacity) {
  CacheShape shape = shape_;
  shape.capacity = capacity;
  Layout layout = lay_out(shape);
  allocate(layout);
  std::vector<std::byte> bytes;
  for (std::size_t layer = 0; layer < layout.layers.size(); ++layer) {
    const KvMemory& from = *layout_.parts[layout_.layers[layer].part].memory;
    KvMemory& to = *layout.parts[layout.layers[layer].part].memory;
    if (const std::size_t n = layout.layers[layer].state_bytes; n > 0) {
      bytes.resize(n);
      from.read(layout_.layers[layer].state, bytes);
      to.write(layout.layers[layer].state, bytes);
      continue;
    }
    for (const auto area : {&Layer::sinks, &Layer::ring}) {
      const Area& old_area = layout_.layers[layer].*area;
      const Area& new_area = layout.layers[layer].*area;
      const KvHeads& heads = shape.heads[layer];
      const HeadBytes n_old = head_bytes(shape.type, heads.dim, old_area.n_tiles);
      const HeadBytes n_new = head_bytes(shape.type, heads.dim, new_area.n_tiles);
      for (int head = 0; head < heads.n; ++head) {
        std::size_t at = old_area.offset + static_cast<std::size_t>(head) * old_area.head_bytes;
        std::size_t new_at = new_area.offset + static_cast<std::size_t>(head) * new_area.head_bytes;
        for (const auto n :
             {&HeadBytes::elements, &HeadBytes::elements, &HeadBytes::scales, &HeadBytes::scales}) {
          bytes.resize(n_old.*n);
          from.read(at, bytes);
          to.write(new_at, bytes);
          at += n_old.*n;
          new_at += n_new.*n;
        }
      }
    }
  }
  shape_ = std::move(shape);
  layout_ = std::move(layout);
}

std::span<const std::byte> KvCache::raw(std::vector<std::byte>& room) const {
  if (layout_.parts.size() == 1 && layout_.parts.front().memory->host() != nullptr)
    return {layout_.parts.front().memory->host(), layout_.n_bytes};
  room.resize(layout_.n_bytes);
  std::span<std::byte> left = room;
  for (const Part& part : layout_.parts) {
    part.memory->read(0, left.first(part.n_bytes));
    left = left.subspan(part.n_bytes);
  }
  return room;
}

KvCache KvCache::clone() const {
  KvCache copy(shape_);
  std::vector<std::byte> room;
  copy.restore(raw(room), position_);
  copy.origin_ = origin_;
  return copy;
}

bool KvCache::restore(std::span<const std::byte> raw, std::int64_t position) {
  if (raw.size() != layout_.n_bytes) return false;
  for (const Part& part : layout_.parts) {
    part.memory->write(0, raw.first(part.n_bytes));
    raw = raw.subspan(part.n_bytes);
  }
  position_ = position;
  return true;
}

}  // namespace runnel
