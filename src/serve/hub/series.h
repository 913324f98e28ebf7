// A row of numbers of any length as a short one: means of equal runs, whose length doubles when the
// row would become too long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runnel::serve {

class Series {
 public:
  static constexpr std::size_t kMostPoints = 256;

  void add(double value) {
    all_ += value;
    run_ += value;
    ++n_;
    if (n_ % per_point_ != 0) return;
    points_.push_back(run_ / static_cast<double>(per_point_));
    run_ = 0;
    if (points_.size() == kMostPoints) halve();
  }

  std::int64_t n() const { return n_; }
  double mean() const { return n_ > 0 ? all_ / static_cast<double>(n_) : 0; }
  std::int64_t per_point() const { return per_point_; }
  const std::vector<double>& points() const { return points_; }  // of the whole runs

 private:
  void halve() {
    for (std::size_t i = 0; i < kMostPoints / 2; ++i)
      points_[i] = (points_[2 * i] + points_[2 * i + 1]) / 2;
    points_.resize(kMostPoints / 2);
    per_point_ *= 2;
  }

  std::vector<double> points_;
  std::int64_t per_point_ = 1;  // numbers
  std::int64_t n_ = 0;
  double all_ = 0, run_ = 0;
};

}  // namespace runnel::serve
