#include "stream/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/half.h"
#include "base/large_pages.h"
#include "kernels/attention/hadamard.h"
#include "runnel/error.h"

namespace runnel {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

std::int64_t tiles_for(std::int64_t n_slots) {
  return (n_slots + kernels::kTile - 1) / kernels::kTile;
}

kernels::KvFormat format_of(KvType type) {
  switch (type) {
    case KvType::kF32:
      return kernels::KvFormat::kF32;
    case KvType::kF16:
      return kernels::KvFormat::kF16;
    case KvType::kBF16:
      return kernels::KvFormat::kBF16;
    case KvType::kQ8_0:
      return kernels::KvFormat::kQ8_0;
    case KvType::kQ4_0:
      return kernels::KvFormat::kQ4_0;
  }
  std::abort();
}

// Bytes of the keys (the values take the same) and of their scales in one head of an area.
struct HeadBytes {
  std::size_t elements;
  std::size_t scales;
};
HeadBytes head_bytes(int head_dim, KvType type, std::int64_t n_tiles) {
  const auto n_slots = static_cast<std::size_t>(n_tiles) * kernels::kTile;
  const auto dim = static_cast<std::size_t>(head_dim);
  const auto bytes = [&](std::size_t of_elements, std::size_t of_scales) {
    return HeadBytes{aligned(n_slots * of_elements), aligned(n_slots * of_scales)};
  };
  switch (type) {
    case KvType::kF32:
      return bytes(4 * dim, 0);
    case KvType::kF16:
    case KvType::kBF16:
      return bytes(2 * dim, 0);
    case KvType::kQ8_0:
      return bytes(dim, (dim + 31) / 32 * 2);
    case KvType::kQ4_0:
      return bytes((dim + 31) / 32 * 16, (dim + 15) / 16);
  }
  std::abort();
}

KvType sink_type(const CacheShape& shape) {
  return shape.type == KvType::kQ4_0 || shape.is_rotated ? KvType::kF16 : shape.type;
}

// Of a head: the keys that its mean is of, and the mean.
std::size_t mean_at(int head_dim) {
  return static_cast<std::size_t>(kMeanKeys) * static_cast<std::size_t>(head_dim) * 2;
}
std::size_t centre_bytes(int head_dim) {
  return aligned(mean_at(head_dim) + static_cast<std::size_t>(head_dim) * sizeof(float));
}

std::int64_t first_centred(const LayerSight& sight) {
  return std::max(sight.sinks, kFirstMeanKey) + kMeanKeys;
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
    const auto place = [&](KvType type, std::int64_t n_tiles) {
      const HeadBytes bytes = head_bytes(heads.dim, type, n_tiles);
      const Area area = {part.n_bytes, n_tiles, 2 * (bytes.elements + bytes.scales)};
      part.n_bytes += area.head_bytes * static_cast<std::size_t>(heads.n);
      return area;
    };
    if (!shape.state_sizes.empty() && shape.state_sizes[i] > 0) {
      const std::size_t state_bytes =
          static_cast<std::size_t>(shape.state_sizes[i]) * sizeof(float);
      layout.layers.push_back(
          {.state = part.n_bytes, .state_bytes = state_bytes, .part = layout.parts.size() - 1});
      part.n_bytes += aligned(state_bytes);
      continue;
    }
    const LayerSight& sight = shape.layers[i];
    const std::int64_t slots = sight.window >= kUnbounded
                                   ? std::max<std::int64_t>(shape.capacity, shape.chunk)
                                   : sight.window + shape.chunk;
    const Area sinks = place(sink_type(shape), tiles_for(sight.sinks));
    layout.layers.push_back({.sinks = sinks,
                             .ring = place(shape.type, std::max<std::int64_t>(tiles_for(slots), 1)),
                             .part = layout.parts.size() - 1});
    if (shape.type == KvType::kQ4_0 && shape.keeps_newest)
      layout.layers.back().newest =
          place(KvType::kF16, tiles_for(n_newest(sight) + shape.guesses + kernels::kTile));
    if (shape.is_rotated && heads.n > 0) lay_out_centre(shape, i, layout);
  }
  for (const Part& part : layout.parts) layout.n_bytes += part.n_bytes;
  return layout;
}

void KvCache::lay_out_centre(const CacheShape& shape, std::size_t layer, Layout& layout) {
  std::size_t& end = layout.parts.back().n_bytes;
  Layer& l = layout.layers[layer];
  l.centre = end;
  const KvHeads& heads = shape.heads[layer];
  l.centre_bytes = centre_bytes(heads.dim);
  end += l.centre_bytes * static_cast<std::size_t>(heads.n);
  const auto is_like = [&](std::size_t other) {
    const Layer& o = layout.layers[other];
    return o.angle_bytes > 0 && o.part == l.part && o.ring.n_tiles == l.ring.n_tiles &&
           shape.rotations[other] == shape.rotations[layer] &&
           shape.heads[other].dim == heads.dim &&
           first_centred(shape.layers[other]) == first_centred(shape.layers[layer]);
  };
  for (std::size_t other = 0; other < layer; ++other) {
    if (!is_like(other)) continue;
    l.angles = layout.layers[other].angles;
    return;
  }
  const auto n_angles = static_cast<std::size_t>(shape.rotations[layer].n_angles(heads.dim));
  l.angles = end;
  l.angle_bytes = static_cast<std::size_t>(l.ring.n_tiles) * kernels::kTile * n_angles * 2;
  end += aligned(l.angle_bytes);
}

void KvCache::allocate(Layout& layout) {
  for (Part& part : layout.parts)
    part.memory =
        part.source == nullptr ? take_host_memory(part.n_bytes) : part.source->take(part.n_bytes);
}

KvCache::KvCache(CacheShape shape) : shape_(std::move(shape)) {
  shape_.capacity = std::max<std::int64_t>(shape_.capacity, shape_.chunk);
  for (const KvHeads& heads : shape_.heads) {
    if (!shape_.is_rotated || heads.dim <= kLargestCodedHead) continue;
    throw Error(fmt::format("rotated cache: want heads of at most {} numbers, found {}",
                            kLargestCodedHead, heads.dim));
  }
  policy_ = std::max_element(shape_.layers.begin(), shape_.layers.end(),
                             [](const LayerSight& a, const LayerSight& b) {
                               return a.stream.window < b.stream.window;
                             })
                ->stream;
  layout_ = lay_out(shape_);
  allocate(layout_);
}

std::size_t KvCache::bytes_of(const CacheShape& shape) { return lay_out(shape).n_bytes; }

KvCache::LayerPlace KvCache::place(int layer) const {
  const Layer& l = of(layer);
  const auto place_of = [&](const Area& area) {
    const HeadBytes bytes = head_bytes(heads(layer).dim, type_of(l, area), area.n_tiles);
    return Place{area.offset, area.head_bytes, bytes.elements, bytes.scales, area.n_tiles};
  };
  return {layout_.parts[l.part].memory.get(), place_of(l.sinks), place_of(l.ring)};
}

KvType KvCache::type_of(const Layer& layer, const Area& area) const {
  if (&area == &layer.newest) return KvType::kF16;
  return &area == &layer.sinks ? sink_type(shape_) : shape_.type;
}

kernels::KvArea KvCache::view(int layer, const Area& area, int head) const {
  const Layer& l = of(layer);
  const KvType type = type_of(l, area);
  const HeadBytes bytes = head_bytes(heads(layer).dim, type, area.n_tiles);
  std::byte* p = host(l) + area.offset + static_cast<std::size_t>(head) * area.head_bytes;
  auto* scales = reinterpret_cast<std::uint16_t*>(p + 2 * bytes.elements);
  return {.keys = p,
          .values = p + bytes.elements,
          .key_scales = scales,
          .value_scales = scales + bytes.scales / 2,
          .n_tiles = area.n_tiles,
          .format = format_of(type)};
}

kernels::KvArea KvCache::sinks(int layer, int head) const {
  return view(layer, of(layer).sinks, head);
}

kernels::KvArea KvCache::ring(int layer, int head) const {
  return view(layer, of(layer).ring, head);
}

kernels::KvArea KvCache::newest(int layer, int head) const {
  return view(layer, of(layer).newest, head);
}

kernels::KvFormat KvCache::format() const { return format_of(shape_.type); }

void KvCache::store(int layer, int head, std::int64_t position, const float* key,
                    const float* value, const PositionAngles& angles,
                    const kernels::KvArea* newest) {
  const bool is_sink = position < sight(layer).sinks;
  const kernels::KvArea area = is_sink ? sinks(layer, head) : ring(layer, head);
  const int head_dim = heads(layer).dim;
  float rotated_value[kLargestCodedHead];
  if (shape_.is_rotated) {
    std::copy_n(value, head_dim, rotated_value);
    kernels::hadamard(rotated_value, head_dim);
    value = rotated_value;
  }
  if (newest != nullptr && !is_sink) put(*newest, layer, head, position, key, value);
  if (is_sink || !shape_.is_rotated) return put(area, layer, head, position, key, value);
  float centred[kLargestCodedHead];
  std::copy_n(key, head_dim, centred);
  centre(layer, head, position, angles, {centred, static_cast<std::size_t>(head_dim)});
  put(area, layer, head, position, centred, value);
}

// To the position's slot in the area; where the cache is rotated the key is multiplied by the
// matrix first, as the value was.
void KvCache::put(const kernels::KvArea& area, int layer, int head, std::int64_t position,
                  const float* key, const float* value) const {
  const int head_dim = heads(layer).dim;
  const std::int64_t slot = position % (area.n_tiles * kernels::kTile);
  if (!shape_.is_rotated) return kernels::store_kv(area, head_dim, slot, key, value);
  float rotated_key[kLargestCodedHead];
  std::copy_n(key, head_dim, rotated_key);
  if (position >= sight(layer).sinks) {
    const std::span<const float> factors = balance(layer, head);
    for (std::size_t d = 0; d < factors.size(); ++d) rotated_key[d] *= factors[d];
  }
  kernels::hadamard(rotated_key, head_dim);
  kernels::store_kv(area, head_dim, slot, rotated_key, value);
}

std::int64_t KvCache::centred_from(int layer) const { return first_centred(sight(layer)); }

bool KvCache::makes_means(int layer, std::int64_t position) const {
  return shape_.is_rotated && position == centred_from(layer);
}

// A key that its head's mean is of is kept; a later one loses the mean, which the first of these
// takes from the keys that were kept.
void KvCache::centre(int layer, int head, std::int64_t position, const PositionAngles& angles,
                     std::span<float> key) {
  const KeyRotation& rotation = this->rotation(layer);
  const Layer& l = of(layer);
  std::byte* const bytes = host(l) + l.centre + static_cast<std::size_t>(head) * l.centre_bytes;
  auto* const kept = reinterpret_cast<std::uint16_t*>(bytes);
  auto* const mean = reinterpret_cast<float*>(bytes + mean_at(heads(layer).dim));
  const std::int64_t from = centred_from(layer);
  if (l.angle_bytes > 0 && head == 0) write_angles(layer, position, angles);
  if (position < from - kMeanKeys) return;
  if (position < from) {
    float unrotated[kLargestCodedHead];
    unrotate(rotation, angles, key, unrotated);
    std::transform(unrotated, unrotated + key.size(),
                   kept + (position - from + kMeanKeys) * std::ssize(key), f32_to_f16);
    return;
  }
  if (position == from) {
    for (std::size_t d = 0; d < key.size(); ++d) {
      float sum = 0;
      for (std::size_t i = 0; i < kMeanKeys; ++i) sum += f16_to_f32(kept[i * key.size() + d]);
      mean[d] = sum / kMeanKeys;
    }
  }
  subtract_mean(rotation, angles, mean, key);
}

void KvCache::write_angles(int layer, std::int64_t position, const PositionAngles& angles) {
  const Layer& l = of(layer);
  const int n = n_angles(layer);
  const std::int64_t slot = position % (l.ring.n_tiles * kernels::kTile);
  auto* lane = reinterpret_cast<std::uint16_t*>(host(l) + l.angles) +
               slot / kernels::kTile * n * kernels::kTile + slot % kernels::kTile;
  const bool is_centred = position >= centred_from(layer);
  for (int i = 0; i < n; ++i, lane += kernels::kTile)
    *lane = is_centred ? f32_to_f16(angle_of(rotation(layer), angles, i)) : std::uint16_t{0};
}

const float* KvCache::mean(int layer, int head) const {
  const Layer& l = of(layer);
  return reinterpret_cast<const float*>(host(l) + l.centre + mean_at(heads(layer).dim) +
                                        static_cast<std::size_t>(head) * l.centre_bytes);
}

std::span<const float> KvCache::balance(int layer, int head) const {
  const auto index = static_cast<std::size_t>(layer);
  if (index >= shape_.balances.size() || shape_.balances[index].empty()) return {};
  const auto head_dim = static_cast<std::size_t>(heads(layer).dim);
  return std::span(shape_.balances[index])
      .subspan(static_cast<std::size_t>(head) * head_dim, head_dim);
}

const std::uint16_t* KvCache::angles(int layer) const {
  const Layer& l = of(layer);
  return reinterpret_cast<const std::uint16_t*>(host(l) + l.angles);
}

int KvCache::n_angles(int layer) const { return rotation(layer).n_angles(heads(layer).dim); }

void KvCache::clear() {
  position_ = 0;
  for (const Layer& layer : layout_.layers) {
    const std::vector<std::byte> zeros(layer.state_bytes);
    layout_.parts[layer.part].memory->write(layer.state, zeros);
  }
}

float* KvCache::state(int layer) {
  const Layer& l = of(layer);
  return reinterpret_cast<float*>(host(l) + l.state);
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
    const Layer& o = layout_.layers[layer];
    const Layer& l = layout.layers[layer];
    const KvMemory& from = *layout_.parts[o.part].memory;
    KvMemory& to = *layout.parts[l.part].memory;
    const auto copy = [&](std::size_t at, std::size_t n, std::size_t new_at) {
      if (n == 0) return;
      bytes.resize(n);
      from.read(at, bytes);
      to.write(new_at, bytes);
    };
    copy(o.state, l.state_bytes, l.state);
    copy(o.centre, l.centre_bytes * static_cast<std::size_t>(shape.heads[layer].n), l.centre);
    copy(o.angles, o.angle_bytes, l.angles);
    if (l.state_bytes > 0) continue;
    for (const auto area : {&Layer::sinks, &Layer::ring, &Layer::newest}) {
      const Area& old_area = o.*area;
      const Area& new_area = l.*area;
      const KvHeads& heads = shape.heads[layer];
      const KvType type = type_of(o, old_area);
      const HeadBytes n_old = head_bytes(heads.dim, type, old_area.n_tiles);
      const HeadBytes n_new = head_bytes(heads.dim, type, new_area.n_tiles);
      for (int head = 0; head < heads.n; ++head) {
        std::size_t at = old_area.offset + static_cast<std::size_t>(head) * old_area.head_bytes;
        std::size_t new_at = new_area.offset + static_cast<std::size_t>(head) * new_area.head_bytes;
        for (const auto n :
             {&HeadBytes::elements, &HeadBytes::elements, &HeadBytes::scales, &HeadBytes::scales}) {
          copy(at, n_old.*n, new_at);
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
