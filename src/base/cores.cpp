#include "base/cores.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <set>
#include <string>
#include <vector>

namespace runnel {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "0-3,8": 0, 1, 2, 3, 8. What is no such list ends it.
std::set<int> numbers_of(const std::string& list) {
  std::set<int> numbers;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    int first = 0;
    const auto [after_first, error] = std::from_chars(at, end, first);
    if (error != std::errc{}) break;
    int last = first;
    at = after_first;
    if (at < end && *at == '-') at = std::from_chars(at + 1, end, last).ptr;
    for (int i = first; i <= std::min(last, first + 4095); ++i) numbers.insert(i);
    if (at < end && *at == ',') ++at;
  }
  return numbers;
}

// The processors of the largest kind: Intel's performance cores, or ARM's with more than half of
// the largest capacity.
std::vector<int> fast_ones(std::span<const int> processors, const std::filesystem::path& sys) {
  std::vector<int> fast;
  const std::set<int> performance = numbers_of(first_line(sys / "cpu_core" / "cpus"));
  std::vector<int> capacities;
  for (const int processor : processors) {
    if (performance.contains(processor)) fast.push_back(processor);
    const std::string capacity =
        first_line(sys / "system" / "cpu" / ("cpu" + std::to_string(processor)) / "cpu_capacity");
    int value = 0;
    std::from_chars(capacity.data(), capacity.data() + capacity.size(), value);
    capacities.push_back(value);
  }
  if (!fast.empty()) return fast;
  const int largest =
      capacities.empty() ? 0 : *std::max_element(capacities.begin(), capacities.end());
  for (std::size_t i = 0; i < capacities.size(); ++i) {
    if (2 * capacities[i] > largest || largest == 0) fast.push_back(processors[i]);
  }
  return fast;
}

// "150000 100000": 1.5 cores, rounded up. "max 100000", -1 or what is no number: no limit.
std::optional<int> cores_of(const std::string& quota, const std::string& period) {
  std::int64_t n_quota = 0, n_period = 0;
  std::from_chars(quota.data(), quota.data() + quota.size(), n_quota);
  std::from_chars(period.data(), period.data() + period.size(), n_period);
  if (n_quota <= 0 || n_period <= 0) return std::nullopt;
  return static_cast<int>(std::min<std::int64_t>((n_quota + n_period - 1) / n_period, 1 << 20));
}

// The limit of one group.
std::optional<int> cores_of_group(const std::filesystem::path& group) {
  const std::string both = first_line(group / "cpu.max");
  if (const auto space = both.find(' '); space != std::string::npos)
    return cores_of(both.substr(0, space), both.substr(space + 1));
  return cores_of(first_line(group / "cpu.cfs_quota_us"), first_line(group / "cpu.cfs_period_us"));
}

// A line of /proc/self/cgroup, "0::/user.slice/one" or "4:cpu,cpuacct:/one": the group's folder, if
// it is one that counts processors' time.
std::optional<std::filesystem::path> folder_of(const std::string& line) {
  const std::size_t first = line.find(':');
  const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
  if (second == std::string::npos) return std::nullopt;
  const std::string kinds = line.substr(first + 1, second - first - 1);
  const std::string folder = line.substr(second + 1);
  if (kinds.empty()) return std::filesystem::path(folder).relative_path();
  if (("," + kinds + ",").find(",cpu,") == std::string::npos) return std::nullopt;
  return std::filesystem::path("cpu") / std::filesystem::path(folder).relative_path();
}

}  // namespace

std::optional<int> granted_cores(const std::filesystem::path& groups,
                                 const std::filesystem::path& own) {
  std::optional<int> least;
  std::ifstream file(own);
  for (std::string line; std::getline(file, line);) {
    const auto folder = folder_of(line);
    if (!folder) continue;
    // Its own and those it lies in; in a container the names may be others than those shown there.
    std::filesystem::path group = groups;
    std::vector<std::filesystem::path> parts(folder->begin(), folder->end());
    for (std::size_t i = 0; i <= parts.size(); ++i) {
      if (const auto n = cores_of_group(group); n && (!least || *n < *least)) least = n;
      if (i < parts.size()) group /= parts[i];
    }
  }
  return least;
}

int fast_cores(std::span<const int> processors, const std::filesystem::path& sys) {
  std::set<int> cores;  // by their first processor
  for (const int processor : fast_ones(processors, sys)) {
    const std::set<int> siblings =
        numbers_of(first_line(sys / "system" / "cpu" / ("cpu" + std::to_string(processor)) /
                              "topology" / "thread_siblings_list"));
    cores.insert(siblings.empty() ? processor : *siblings.begin());
  }
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace runnel
