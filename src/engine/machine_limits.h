// What this machine can do at most, measured with the kernels' own instructions on all of the
// model's threads at once: the measure that every speed is stated against.
#pragma once

#include <array>
#include <map>

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

// Multiply-adds a second, in registers.
struct Peaks {
  ByNumbers numbers = {};              // 0 for those that the kernels do not multiply
  std::map<TensorType, double> types;  // of the model's weights that are multiplied as int8
};
Peaks measure_peaks(const Model& model, double seconds = 1);  // the best of so long for each

// Bytes that a product reads of a matrix, as it lies in memory.
double read_bytes(const kernels::Matrix& matrix);

// What one decoded token reads and what one ingested token multiplies, past the window.
struct TokenWork {
  double read_bytes = 0;  // weights as they lie in memory, and the cache
  ByNumbers multiply_adds = {};
  std::map<TensorType, double> int8_multiply_adds;  // by type: those of int8

  // The least time of an ingested token.
  double least_seconds(const Peaks& peaks) const;
};
TokenWork token_work(const Model& model, const StreamOptions& resolved);

}  // namespace runnel
