#include "base/large_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace runnel {
namespace {

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

void FreePages::operator()(std::byte* p) const { ::munmap(p, n_bytes); }

PageBuffer take_pages(std::size_t n_bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t size = round_up(std::max<std::size_t>(n_bytes, 1), page);
  const std::size_t slack = size < kLargePage ? 0 : kLargePage - page;
  if (size < n_bytes || size + slack < size) throw std::bad_alloc();
  void* mapped =
      ::mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* start = static_cast<std::byte*>(mapped);
  if (slack > 0) {
    const std::size_t before = round_up(reinterpret_cast<std::uintptr_t>(start), kLargePage) -
                               reinterpret_cast<std::uintptr_t>(start);
    if (before > 0) ::munmap(start, before);
    if (before < slack) ::munmap(start + before + size, slack - before);
    start += before;
    // The last, partly used large page stays small ones: memory is what was asked for.
    ::madvise(start, size / kLargePage * kLargePage, MADV_HUGEPAGE);
  }
  return PageBuffer(start, FreePages{size});
}

void LargePages::reserve(std::size_t n_bytes) {
  blocks_.push_back(take_pages(n_bytes));
  room_ = blocks_.back().get_deleter().n_bytes;
}

std::byte* LargePages::take(std::size_t n_bytes) {
  if (n_bytes > room_) reserve(n_bytes);
  const PageBuffer& block = blocks_.back();
  std::byte* p = block.get() + (block.get_deleter().n_bytes - room_);
  room_ -= std::min(room_, round_up(n_bytes, 64));
  n_bytes_ += n_bytes;
  return p;
}

}  // namespace runnel
