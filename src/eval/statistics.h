// Means of measured values, with how far to trust them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace runnel::eval {

struct Estimate {
  double mean = 0;
  double error = 0;  // standard error of the mean; 0 when there are too few values to tell
  std::int64_t n = 0;
};

// The mean, with a standard error from the means of `n_blocks` runs of neighbours: values of one
// passage of text resemble each other, so that the error of single values would be too small.
Estimate block_estimate(std::span<const double> values, int n_blocks = 32);
Estimate block_estimate(std::span<const float> values, int n_blocks = 32);

// exp of an estimated mean negative log-likelihood, with the error carried over to first order.
Estimate perplexity_of(const Estimate& nll);

double median(std::vector<double> values);  // 0 of nothing

// Positions [first, last] that are averaged into one point of a curve.
struct Bin {
  std::int64_t first = 0;
  std::int64_t last = 0;
  double centre() const;  // geometric
};
// Bins over positions 1 to `last`, `per_decade` to a factor of ten and none narrower than
// `narrowest`.
std::vector<Bin> log_bins(std::int64_t last, int per_decade = 16, std::int64_t narrowest = 64);

// `n` whole numbers from `first` to `last`, both included, evenly spread on a logarithmic scale,
// each once (so fewer where they lie closer than one).
std::vector<std::int64_t> log_spaced(std::int64_t first, std::int64_t last, std::int64_t n);

}  // namespace runnel::eval
