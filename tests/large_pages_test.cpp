#include "base/large_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>

namespace runnel {
namespace {

TEST(LargePages, AreZerosThatStayWhereTheyAreWhenTheOwnerMoves) {
  LargePages pages;
  std::byte* first = pages.take(100);
  std::byte* second = pages.take(5 << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second) % 64, 0u);
  EXPECT_EQ(std::count(second, second + (5 << 20), std::byte{0}), 5 << 20);
  first[99] = std::byte{7};
  LargePages moved;
  moved = std::move(pages);
  EXPECT_EQ(first[99], std::byte{7});
  EXPECT_EQ(moved.bytes(), 100u + (5 << 20));
}

TEST(LargePages, AreRefusedWhenThereAreNotEnough) {
  LargePages pages;
  EXPECT_THROW(pages.take(std::numeric_limits<std::size_t>::max() / 2), std::bad_alloc);
  EXPECT_EQ(pages.bytes(), 0u);
}

TEST(LargePages, ReservedTogetherLieSideBySide) {
  LargePages pages;
  pages.reserve(300);
  std::byte* first = pages.take(100);
  EXPECT_EQ(pages.take(100), first + 128);
  pages.take(1 << 20);  // more than there is room for: a block of its own
  EXPECT_EQ(pages.bytes(), 200u + (1 << 20));
}

TEST(LargePages, CanBeWrittenToTheLastByte) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{4096}, kLargePage - 1, kLargePage,
                              kLargePage + 1, 3 * kLargePage + 5000}) {
    const PageBuffer buffer = take_pages(n);
    const auto address = reinterpret_cast<std::uintptr_t>(buffer.get());
    EXPECT_EQ(address % (n < kLargePage ? 64 : kLargePage), 0u) << n;
    EXPECT_EQ(std::count(buffer.get(), buffer.get() + n, std::byte{0}),
              static_cast<std::ptrdiff_t>(n));
    std::fill_n(buffer.get(), n, std::byte{1});
  }
}

}  // namespace
}  // namespace runnel
