// Random tensor data, made directly in its stored form: at a few bytes a nanosecond a 7B model
// takes seconds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor_type.h"

namespace runnel {

// SplitMix64 (Steele, Lea, Flood, 2014): small, fast, good enough for weights.
class WeightRandom {
 public:
  explicit WeightRandom(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

// Writes n weights (a whole number of blocks) with mean 0 and about the given standard deviation.
void random_weights(TensorType type, float deviation, WeightRandom& random, std::byte* out,
                    std::int64_t n);

}  // namespace runnel
