#include "base/cores.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <optional>
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

TEST_F(Cores, AreThoseWithTheirFirstThreadWhereAffinityLeavesHalves) {
  for (int i = 0; i < 8; ++i)
    siblings(i, i % 2 == 0 ? std::to_string(i) + "-" + std::to_string(i + 1)
                           : std::to_string(i - 1) + "-" + std::to_string(i));
  EXPECT_EQ(fast_cores(std::vector{1, 3}, dir_.path()), 2);
  EXPECT_EQ(fast_cores(std::vector{0, 1}, dir_.path()), 1);
}

// What a group grants: the process's own, and those it lies in.
class GrantedCores : public Cores {
 protected:
  void is_in(const std::string& lines) { write("own", lines); }
  std::optional<int> granted() {
    return granted_cores(dir_.path() / "groups", dir_.path() / "own");
  }
};

TEST_F(GrantedCores, HaveNoLimitWhereNoneIsSet) {
  is_in("0::/");
  EXPECT_EQ(granted(), std::nullopt);
  write("groups/cpu.max", "max 100000");
  EXPECT_EQ(granted(), std::nullopt);
  is_in("no group");
  EXPECT_EQ(granted(), std::nullopt);
}

TEST_F(GrantedCores, OfAContainerAreItsQuotaRoundedUp) {
  is_in("0::/");
  write("groups/cpu.max", "150000 100000");
  EXPECT_EQ(granted(), 2);
  write("groups/cpu.max", "50000 100000");
  EXPECT_EQ(granted(), 1);
}

TEST_F(GrantedCores, AreTheLeastOfAllGroupsAround) {
  is_in("0::/machine.slice/one/two");
  write("groups/machine.slice/cpu.max", "600000 100000");
  write("groups/machine.slice/one/cpu.max", "300000 100000");
  write("groups/machine.slice/one/two/cpu.max", "max 100000");
  EXPECT_EQ(granted(), 3);
}

TEST_F(GrantedCores, AreReadAsTheFirstVersionWritesThem) {
  is_in("12:memory:/m\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/");
  write("groups/cpu/docker/abc/cpu.cfs_quota_us", "400000");
  write("groups/cpu/docker/abc/cpu.cfs_period_us", "100000");
  EXPECT_EQ(granted(), 4);
  write("groups/cpu/docker/abc/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(granted(), std::nullopt);
}

TEST_F(Cores, AreOneAtLeast) { EXPECT_EQ(count(0), 1); }

}  // namespace
}  // namespace runnel
