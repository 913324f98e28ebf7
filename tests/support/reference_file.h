// A model's file as the plain forwards read it: metadata without its prefix, tensors in double, and
// products with them.
#pragma once

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "gguf/file.h"
#include "kernels/pack/dequantize.h"

namespace runnel::test {

using Doubles = std::vector<double>;

inline std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

inline double dot(const double* a, const double* b, std::size_t n) {
  return std::inner_product(a, a + n, b, 0.0);
}

class ReferenceFile {
 public:
  explicit ReferenceFile(const gguf::File& file)
      : file_(file), name_(file.get_string("general.architecture")) {}

  std::int64_t count(const std::string& key, int fallback) const {
    return file_.get_int(name_ + "." + key, fallback);
  }
  std::int64_t count(const std::string& key) const { return file_.get_int(name_ + "." + key); }
  std::vector<std::int64_t> counts(const std::string& key) const {  // of a list by layer
    return *file_.find(name_ + "." + key)->as_array()->ints();
  }
  std::int64_t largest_count(const std::string& key) const {  // of a list by layer, or a number
    const gguf::Value* value = file_.find(name_ + "." + key);
    if (value->as_array() == nullptr) return count(key);
    const auto all = counts(key);
    return *std::max_element(all.begin(), all.end());
  }
  double number(const std::string& key, double fallback) const {
    return file_.get_float(name_ + "." + key, fallback);
  }
  bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }
  const Doubles& tensor(const std::string& name) {
    Doubles& values = tensors_[name];
    if (values.empty()) {
      const gguf::Tensor* stored = file_.find_tensor(name);
      std::vector<float> floats(size(stored->n_elements()));
      kernels::dequantize_row(stored->type, stored->data.data(), floats.data(),
                              stored->n_elements());
      values.assign(floats.begin(), floats.end());
    }
    return values;
  }

  // Matrix `expert` of a tensor that may hold several, with its bias where there is one.
  Doubles multiply(const std::string& name, const Doubles& x, std::size_t expert = 0) {
    const gguf::Tensor* stored = file_.find_tensor(name + ".weight");
    const std::size_t rows = size(stored->shape[1]);
    const Doubles& weights = tensor(name + ".weight");
    Doubles y(rows);
    for (std::size_t r = 0; r < rows; ++r)
      y[r] = dot(&weights[(expert * rows + r) * x.size()], x.data(), x.size());
    if (!has(name + ".bias")) return y;
    const Doubles& bias = tensor(name + ".bias");
    for (std::size_t r = 0; r < rows; ++r) y[r] += bias[expert * rows + r];
    return y;
  }

 protected:
  const gguf::File& file_;
  std::string name_;

 private:
  std::map<std::string, Doubles> tensors_;
};

}  // namespace runnel::test
