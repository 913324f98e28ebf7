// What this machine can do at most, measured with the kernels' own instructions on all of the
// model's threads at once: the measure that every speed is stated against.
#pragma once

#include <array>

#include "base/large_pages.h"
#include "kernels/kernels.h"
#include "runnel/runnel.h"

namespace runnel {

// Something for each of kernels::Numbers.
using ByNumbers = std::array<double, kernels::kNumberKinds>;
inline constexpr std::array<const char*, kernels::kNumberKinds> kNumberNames = {"float", "int8",
                                                                                "bf16"};

// Reads memory in large pages, far beyond the caches, on all of the model's threads.
class MemoryReader {
 public:
  explicit MemoryReader(const Model& model);  // takes 512 MiB
  double rate();                              // bytes a second, of one pass: some 10 ms

 private:
  static constexpr std::int64_t kBytes = std::int64_t{512} << 20;
  const Model& model_;
  LargePages pages_;
  std::byte* data_;
};

// Multiply-adds a second, in registers, the best of `seconds` for each; 0 for numbers that the
// kernels do not multiply.
ByNumbers measure_peaks(const Model& model, double seconds = 1);

// What one decoded token reads and what one ingested token multiplies, past the window.
struct TokenWork {
  double read_bytes = 0;  // weights as they lie in memory, and the cache
  ByNumbers multiply_adds = {};
};
TokenWork token_work(const Model& model, const StreamOptions& resolved);

}  // namespace runnel
