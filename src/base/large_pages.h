// Anonymous memory in large pages, where the system gives them: for what is read from end to end,
// again and again.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace runnel {

// Owns what take() gave.
class LargePages {
 public:
  LargePages() = default;
  LargePages(LargePages&& other) noexcept { std::swap(blocks_, other.blocks_); }
  LargePages& operator=(LargePages&& other) noexcept {
    std::swap(blocks_, other.blocks_);
    return *this;
  }
  ~LargePages();

  // n_bytes > 0 zeros, 64-byte aligned. std::bad_alloc when there is not enough.
  std::byte* take(std::size_t n_bytes);
  std::size_t bytes() const;

 private:
  std::vector<std::span<std::byte>> blocks_;
};

}  // namespace runnel
