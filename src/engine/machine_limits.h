// What this machine can do at most, measured with the kernels' own instructions on all of the
// model's threads at once: the measure that every speed is stated against.
#pragma once

#include <array>

#include "kernels/kernels.h"
#include "runnel/runnel.h"

namespace runnel {

// Something for each of kernels::Numbers.
using ByNumbers = std::array<double, kernels::kNumberKinds>;
inline constexpr std::array<const char*, kernels::kNumberKinds> kNumberNames = {"float", "int8",
                                                                                "bf16"};

// Bytes a second, from memory in large pages, far beyond the caches. Takes about `seconds`, and 512
// MiB of memory meanwhile.
double measure_read_rate(const Model& model, double seconds = 1);

// Multiply-adds a second, in registers; 0 for numbers that the kernels do not multiply. Takes about
// `seconds` for each.
ByNumbers measure_peaks(const Model& model, double seconds = 1);

// What one decoded token reads and what one ingested token multiplies, past the window.
struct TokenWork {
  double read_bytes = 0;  // weights as they lie in memory, and the cache
  ByNumbers multiply_adds = {};
};
TokenWork token_work(const Model& model, const StreamOptions& resolved);

}  // namespace runnel
