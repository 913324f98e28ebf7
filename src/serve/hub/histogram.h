// Durations in buckets, as Prometheus counts them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace runnel::serve {

class Histogram {
 public:
  static constexpr std::array<double, 12> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                     0.1,   0.25,   0.5,   1,    5,     30};  // s

  void add(double seconds) {
    for (std::size_t i = 0; i < kBounds.size(); ++i) {
      if (seconds <= kBounds[i]) ++counts_[i];
    }
    ++n_;
    sum_ += seconds;
  }
  const std::array<std::uint64_t, kBounds.size()>& counts() const { return counts_; }  // up to each
  std::uint64_t n() const { return n_; }
  double sum() const { return sum_; }

 private:
  std::array<std::uint64_t, kBounds.size()> counts_{};
  std::uint64_t n_ = 0;
  double sum_ = 0;
};

}  // namespace runnel::serve
