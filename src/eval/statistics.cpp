#include "eval/statistics.h"

#include <algorithm>
#include <cmath>

namespace runnel::eval {

Estimate block_estimate(std::span<const double> values, int n_blocks) {
  Estimate estimate = {.n = static_cast<std::int64_t>(values.size())};
  if (values.empty()) return estimate;
  for (const double value : values) estimate.mean += value;
  estimate.mean /= static_cast<double>(values.size());
  const std::size_t n = std::min(values.size(), static_cast<std::size_t>(n_blocks));
  if (n < 2) return estimate;
  double spread = 0;
  for (std::size_t block = 0; block < n; ++block) {
    const std::size_t first = values.size() * block / n;
    const std::size_t end = values.size() * (block + 1) / n;
    double mean = 0;
    for (std::size_t i = first; i < end; ++i) mean += values[i];
    mean /= static_cast<double>(end - first);
    spread += (mean - estimate.mean) * (mean - estimate.mean);
  }
  estimate.error = std::sqrt(spread / static_cast<double>(n * (n - 1)));
  return estimate;
}

Estimate block_estimate(std::span<const float> values, int n_blocks) {
  return block_estimate(std::vector<double>(values.begin(), values.end()), n_blocks);
}

Estimate perplexity_of(const Estimate& nll) {
  const double perplexity = std::exp(nll.mean);
  return {.mean = perplexity, .error = perplexity * nll.error, .n = nll.n};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double Bin::centre() const {
  return std::sqrt(static_cast<double>(first) * static_cast<double>(last));
}

std::vector<Bin> log_bins(std::int64_t last, int per_decade, std::int64_t narrowest) {
  const double factor = std::pow(10.0, 1.0 / per_decade);
  std::vector<Bin> bins;
  for (std::int64_t first = 1; first <= last;) {
    const auto grown = static_cast<std::int64_t>(static_cast<double>(first) * factor);
    const std::int64_t end = std::min(last, std::max(grown, first + narrowest - 1));
    bins.push_back({first, end});
    first = end + 1;
  }
  const bool is_remnant = bins.size() > 1 && bins.back().last - bins.back().first + 1 < narrowest;
  if (is_remnant) {
    bins.pop_back();
    bins.back().last = last;
  }
  return bins;
}

std::vector<std::int64_t> log_spaced(std::int64_t first, std::int64_t last, std::int64_t n) {
  std::vector<std::int64_t> numbers;
  if (first < 1 || last < first || n < 1) return numbers;
  const double ratio = static_cast<double>(last) / static_cast<double>(first);
  for (std::int64_t i = 0; i < n; ++i) {
    const double share = n == 1 ? 1.0 : static_cast<double>(i) / static_cast<double>(n - 1);
    const auto number = static_cast<std::int64_t>(
        std::llround(static_cast<double>(first) * std::pow(ratio, share)));
    if (numbers.empty() || number > numbers.back()) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace runnel::eval
