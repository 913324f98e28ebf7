// Memory in whole cache lines, for buffers that vectors of 64 bytes are loaded from.
#pragma once

#include <cstddef>
#include <vector>

namespace runnel {

struct alignas(64) CacheLine {
  std::byte bytes[64];
};

// At least n_bytes, zeroed.
inline std::vector<CacheLine> cache_lines(std::size_t n_bytes) {
  return std::vector<CacheLine>((n_bytes + sizeof(CacheLine) - 1) / sizeof(CacheLine));
}

}  // namespace runnel
