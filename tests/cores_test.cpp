#include "base/cores.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "support/temp_dir.h"

namespace runnel {
namespace {

// A folder as Linux shows its devices.
class Cores : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = dir_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << '\n';
  }
  void siblings(int processor, const std::string& list) {
    write("system/cpu/cpu" + std::to_string(processor) + "/topology/thread_siblings_list", list);
  }
  int count(int n) {
    std::vector<int> processors(static_cast<std::size_t>(n));
    std::iota(processors.begin(), processors.end(), 0);
    return fast_cores(processors, dir_.path());
  }

  test::TempDir dir_;
};

TEST_F(Cores, OfAMachineThatTellsNothingAreItsProcessors) { EXPECT_EQ(count(4), 4); }

TEST_F(Cores, CountTheirTwoThreadsOnce) {
  for (int i = 0; i < 8; ++i) siblings(i, std::to_string(i % 4) + "," + std::to_string(i % 4 + 4));
  EXPECT_EQ(count(8), 4);
  EXPECT_EQ(fast_cores(std::vector{5, 6}, dir_.path()), 2);
}

TEST_F(Cores, LeaveOutTheSlowOnesBesidePerformanceCores) {
  write("cpu_core/cpus", "0-3");
  for (int i = 0; i < 4; ++i) siblings(i, i < 2 ? "0-1" : "2-3");
  for (int i = 4; i < 12; ++i) siblings(i, std::to_string(i));
  EXPECT_EQ(count(12), 2);
}

TEST_F(Cores, AreTheSlowOnesWhereNoOthersMayBeUsed) {
  write("cpu_core/cpus", "0-3");
  EXPECT_EQ(fast_cores(std::vector{8, 9, 10}, dir_.path()), 3);
}

TEST_F(Cores, LeaveOutThoseOfLessThanHalfTheLargestCapacity) {
  for (int i = 0; i < 8; ++i)
    write("system/cpu/cpu" + std::to_string(i) + "/cpu_capacity", i < 4 ? "250" : "1024");
  EXPECT_EQ(count(8), 4);
}

TEST_F(Cores, AreOneAtLeast) { EXPECT_EQ(count(0), 1); }

}  // namespace
}  // namespace runnel
