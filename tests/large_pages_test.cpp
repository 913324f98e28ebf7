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

}  // namespace
}  // namespace runnel
