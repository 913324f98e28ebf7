// The layers without keys and values of the plain forward: written from their public descriptions,
// in double, over the whole history of a stream.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "support/reference_file.h"

namespace runnel::test {

// How a layer reaches its weights: a product with a matrix, and a tensor's values.
struct LayerTensors {
  std::function<Doubles(const std::string& name, const Doubles& x)> multiply;
  std::function<const Doubles&(const std::string& name)> values;
  std::function<bool(const std::string& name)> has;
};

// A causal convolution of each channel over its last `width` inputs; before the first there are
// zeros.
class ReferenceConvolution {
 public:
  Doubles next(const Doubles& weights, std::size_t width, const Doubles& x);

 private:
  std::vector<Doubles> inputs_;
};

// Gated DeltaNet (arXiv 2412.06464, equation 10): S = S (a (I - b k k^T)) + b v k^T; out = S q.
class ReferenceDeltaNet {
 public:
  struct Sizes {
    std::size_t n_key_heads, n_value_heads, head_dim, conv_width;
    bool is_tiled;  // value head h has key head h mod n_key_heads
    double epsilon;
  };
  Doubles next(const Sizes& sizes, const LayerTensors& tensors, const Doubles& x);

 private:
  ReferenceConvolution convolution_;
  std::vector<Doubles> states_;  // by value head: [values, keys]
};

// out(c * conv(b * x)) with b, c, x from one product.
class ReferenceShortConv {
 public:
  Doubles next(std::size_t width, const LayerTensors& tensors, const Doubles& x);

 private:
  ReferenceConvolution convolution_;
};

}  // namespace runnel::test
