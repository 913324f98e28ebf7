#include "device/cpu/newest_rings.h"

#include <algorithm>

namespace runnel::cpu {
namespace {

std::int64_t slots_of(const kernels::KvArea& area) { return area.n_tiles * kernels::kTile; }

// A position's key and value from one ring of f16 to another.
void copy_slot(const kernels::KvArea& from, const kernels::KvArea& to, int head_dim,
               std::int64_t position) {
  const auto numbers = [](std::byte* p) { return reinterpret_cast<std::uint16_t*>(p); };
  const std::int64_t source = position % slots_of(from);
  const std::int64_t target = position % slots_of(to);
  const auto key_at = [&](std::int64_t slot) {
    return slot / kernels::kTile * head_dim * kernels::kTile + slot % kernels::kTile;
  };
  for (std::int64_t d = 0; d < head_dim; ++d)
    numbers(to.keys)[key_at(target) + d * kernels::kTile] =
        numbers(from.keys)[key_at(source) + d * kernels::kTile];
  std::copy_n(numbers(from.values) + source * head_dim, head_dim,
              numbers(to.values) + target * head_dim);
}

}  // namespace

void NewestRings::add(const KvCache& cache, std::int64_t first_position, int n_tokens) {
  if (n_tokens == 1) return;
  // Of any layer: the most that it attends to there, and those of the step.
  const std::int64_t n_tiles = kMostNewestTiles + n_tokens / kernels::kTile + 2;
  chunks_.push_back({&cache, first_position, n_tokens, n_tiles});
}

void NewestRings::take(const AttentionLayer& layer) {
  std::size_t n_bytes = 0;
  for (Chunk& chunk : chunks_) {
    chunk.offset = n_bytes;
    n_bytes += static_cast<std::size_t>(layer.n_kv_heads * chunk.head_bytes(layer.head_dim));
  }
  const std::size_t n_lines = (n_bytes + sizeof(CacheLine) - 1) / sizeof(CacheLine);
  if (room_.size() < n_lines) room_.resize(n_lines);
}

kernels::KvArea NewestRings::of(const KvCache& cache, const AttentionLayer& layer, int kv_head) {
  const auto chunk = std::find_if(chunks_.begin(), chunks_.end(),
                                  [&](const Chunk& c) { return c.cache == &cache; });
  if (chunk == chunks_.end()) return cache.newest(layer.cache_layer, kv_head);
  const std::int64_t head_bytes = chunk->head_bytes(layer.head_dim);
  std::byte* const keys = room_.front().bytes + chunk->offset + kv_head * head_bytes;
  return {.keys = keys,
          .values = keys + head_bytes / 2,
          .n_tiles = chunk->n_tiles,
          .format = kernels::KvFormat::kF16};
}

void NewestRings::carry(const AttentionLayer& layer, ThreadPool& threads) {
  const int n_tasks = static_cast<int>(chunks_.size()) * layer.n_kv_heads;
  threads.run(n_tasks, [&](int task, int) {
    const Chunk& chunk = chunks_[static_cast<std::size_t>(task / layer.n_kv_heads)];
    const int kv_head = task % layer.n_kv_heads;
    const kernels::KvArea of_step = of(*chunk.cache, layer, kv_head);
    const kernels::KvArea of_stream = chunk.cache->newest(layer.cache_layer, kv_head);
    const std::int64_t sinks = chunk.cache->sight(layer.cache_layer).sinks;
    const std::int64_t n_before = chunk.cache->n_newest(layer.cache_layer) - 1;
    const std::int64_t first = chunk.first_position;
    const std::int64_t end = first + chunk.n_tokens;
    for (std::int64_t p = std::max(sinks, first - n_before); p < first; ++p)
      copy_slot(of_stream, of_step, layer.head_dim, p);
    for (std::int64_t p = std::max({sinks, first, end - slots_of(of_stream)}); p < end; ++p)
      copy_slot(of_step, of_stream, layer.head_dim, p);
  });
}

}  // namespace runnel::cpu
