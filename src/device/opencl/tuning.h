// Sizes of work-groups that were fastest on a device, measured once and kept in the user's cache
// folder as a line each. They change no result.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "device/opencl/context.h"

namespace runnel::opencl {

class Tuning {
 public:
  explicit Tuning(const Context& context);

  // The fastest of `sizes` for what `key` names: as it was kept, or else as run(size), which
  // enqueues the same work for each size, is timed now.
  template <typename Run>
  std::size_t fastest(Context& context, const std::string& key, std::span<const std::size_t> sizes,
                      Run run) {
    if (const auto kept = find(key, sizes)) return *kept;
    std::size_t best = sizes.front();
    double least = 0;
    for (const std::size_t size : sizes) {
      const double seconds = time_of(context, [&] { run(size); });
      if (size == sizes.front() || seconds < least) best = size, least = seconds;
    }
    keep(key, best);
    return best;
  }

 private:
  std::optional<std::size_t> find(const std::string& key, std::span<const std::size_t> sizes) const;
  void keep(const std::string& key, std::size_t size);
  // The least of a few times, after one to warm up.
  template <typename Run>
  static double time_of(Context& context, Run run) {
    double least = 0;
    for (int i = 0; i < 5; ++i) {
      const double seconds = context.time_uncounted(run);
      if (i == 1 || (i > 1 && seconds < least)) least = seconds;
    }
    return least;
  }

  std::filesystem::path path_;  // empty: nothing is kept
  std::map<std::string, std::size_t> sizes_;
};

}  // namespace runnel::opencl
