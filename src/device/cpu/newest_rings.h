// Where the newest tokens of a step's caches of codes lie in f16 (stream/kv_cache.h).
//
// A stream's own ring of newest tokens is a little longer than what one token attends to there. The
// tokens of a chunk need more: theirs and those before lie in a ring of the step's, layer after
// layer, from which the last ones go back into the stream's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/cache_line.h"
#include "base/thread_pool.h"
#include "device/operations.h"
#include "kernels/kernels.h"

namespace runnel::cpu {

class NewestRings {
 public:
  // A step begins, without a chunk.
  void clear() { chunks_.clear(); }
  // The step's tokens of a cache that has newest ones; a single one needs no ring of the step's.
  void add(const KvCache& cache, std::int64_t first_position, int n_tokens);

  // Makes room for a layer's keys and values, in place of another's.
  void take(const AttentionLayer& layer);
  // Where those of a head lie: in a ring of the step's, or else in the stream's.
  kernels::KvArea of(const KvCache& cache, const AttentionLayer& layer, int kv_head);
  // Brings the newest tokens before each chunk into its ring, and the last of all back.
  void carry(const AttentionLayer& layer, ThreadPool& threads);

 private:
  struct Chunk {
    const KvCache* cache;
    std::int64_t first_position;
    int n_tokens;
    std::int64_t n_tiles;
    std::size_t offset = 0;  // into room_

    std::int64_t head_bytes(int head_dim) const { return n_tiles * kernels::kTile * head_dim * 4; }
  };

  std::vector<Chunk> chunks_;
  std::vector<CacheLine> room_;  // keys and values, by head
};

}  // namespace runnel::cpu
