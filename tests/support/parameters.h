// Parameters of tests: how they print, and give their tests names.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <ostream>
#include <string>
#include <type_traits>

#include "base/tensor_type.h"
#include "kernels/kernels.h"
#include "model/make_model.h"

namespace runnel {

inline void PrintTo(TensorType type, std::ostream* out) { *out << traits(type).name; }
inline void PrintTo(const ModelShape& shape, std::ostream* out) { *out << shape.architecture; }
namespace kernels {
inline void PrintTo(const Table* table, std::ostream* out) { *out << table->name; }
}  // namespace kernels

namespace test {

// Letters, digits and underscores.
inline std::string test_name(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

// Names each test of a suite by what its parameter prints as.
struct ByParameter {
  template <typename T>
  std::string operator()(const testing::TestParamInfo<T>& info) const {
    if constexpr (std::is_convertible_v<T, std::string>) {
      const std::string text = info.param;
      return text.empty() ? "empty" : test_name(text);
    } else {
      return test_name(testing::PrintToString(info.param));
    }
  }
};

}  // namespace test
}  // namespace runnel
