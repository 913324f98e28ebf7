// Anonymous memory on the system's large pages, where it gives them. What is read from end to end
// for every token should lie there: the processor fetches ahead inside a page only, and a page of
// 4 KiB is over at once.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace runnel {

inline constexpr std::size_t kLargePage = std::size_t{2} << 20;

struct FreePages {
  std::size_t n_bytes = 0;
  void operator()(std::byte* p) const;
};
using PageBuffer = std::unique_ptr<std::byte[], FreePages>;

// Zeros, aligned to 64 bytes, and to a large page from that size on; not resident before they are
// touched. std::bad_alloc when there is not enough.
PageBuffer take_pages(std::size_t n_bytes);

// Owns what take() gave, one after the other.
class LargePages {
 public:
  // Room for the next n_bytes > 0 in one block.
  void reserve(std::size_t n_bytes);
  // n_bytes > 0 zeros, 64-byte aligned. std::bad_alloc when there is not enough.
  std::byte* take(std::size_t n_bytes);
  std::size_t bytes() const { return n_bytes_; }

 private:
  std::vector<PageBuffer> blocks_;
  std::size_t room_ = 0;  // at the end of the last block
  std::size_t n_bytes_ = 0;
};

}  // namespace runnel
