#include "base/large_pages.h"

#include <sys/mman.h>

#include <new>

namespace runnel {

LargePages::~LargePages() {
  for (const std::span<std::byte> block : blocks_) ::munmap(block.data(), block.size());
}

std::byte* LargePages::take(std::size_t n_bytes) {
  void* p = ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  ::madvise(p, n_bytes, MADV_HUGEPAGE);
  blocks_.push_back({static_cast<std::byte*>(p), n_bytes});
  return blocks_.back().data();
}

std::size_t LargePages::bytes() const {
  std::size_t n_bytes = 0;
  for (const std::span<std::byte> block : blocks_) n_bytes += block.size();
  return n_bytes;
}

}  // namespace runnel
