#include "base/cores.h"

#include <algorithm>
#include <charconv>
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

}  // namespace

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
