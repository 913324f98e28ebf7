#include "base/tensor_type.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <utility>

namespace runnel {
namespace {

constexpr std::array<TensorTypeTraits, 26> kTypes = {{
    {TensorType::kF32, "F32", 1, 4},
    {TensorType::kF16, "F16", 1, 2},
    {TensorType::kBF16, "BF16", 1, 2},
    {TensorType::kQ4_0, "Q4_0", 32, 18},
    {TensorType::kQ4_1, "Q4_1", 32, 20},
    {TensorType::kQ5_0, "Q5_0", 32, 22},
    {TensorType::kQ5_1, "Q5_1", 32, 24},
    {TensorType::kQ8_0, "Q8_0", 32, 34},
    {TensorType::kQ2_K, "Q2_K", 256, 84},
    {TensorType::kQ3_K, "Q3_K", 256, 110},
    {TensorType::kQ4_K, "Q4_K", 256, 144},
    {TensorType::kQ5_K, "Q5_K", 256, 176},
    {TensorType::kQ6_K, "Q6_K", 256, 210},
    {TensorType::kMXFP4, "MXFP4", 32, 17},
    {TensorType::kNVFP4, "NVFP4", 64, 36},
    {TensorType::kIQ1_S, "IQ1_S", 256, 50},
    {TensorType::kIQ1_M, "IQ1_M", 256, 56},
    {TensorType::kIQ2_XXS, "IQ2_XXS", 256, 66},
    {TensorType::kIQ2_XS, "IQ2_XS", 256, 74},
    {TensorType::kIQ2_S, "IQ2_S", 256, 82},
    {TensorType::kIQ3_XXS, "IQ3_XXS", 256, 98},
    {TensorType::kIQ3_S, "IQ3_S", 256, 110},
    {TensorType::kIQ4_NL, "IQ4_NL", 32, 18},
    {TensorType::kIQ4_XS, "IQ4_XS", 256, 136},
    {TensorType::kTQ1_0, "TQ1_0", 256, 54},
    {TensorType::kTQ2_0, "TQ2_0", 256, 66},
}};

constexpr std::array<std::pair<std::uint32_t, std::string_view>, 10> kOtherNames = {{
    {9, "Q8_1"},
    {15, "Q8_K"},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {28, "F64"},
    {41, "Q1_0"},
    {4, "Q4_2 (removed)"},
    {5, "Q4_3 (removed)"},
}};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

}  // namespace

std::optional<TensorTypeTraits> find_tensor_type(std::uint32_t number) {
  for (const TensorTypeTraits& t : kTypes) {
    if (static_cast<std::uint32_t>(t.type) == number) return t;
  }
  return std::nullopt;
}

std::optional<TensorTypeTraits> find_tensor_type(std::string_view name) {
  for (const TensorTypeTraits& t : kTypes) {
    if (equal_ignoring_case(t.name, name)) return t;
  }
  return std::nullopt;
}

const TensorTypeTraits& traits(TensorType type) {
  for (const TensorTypeTraits& t : kTypes) {
    if (t.type == type) return t;
  }
  std::abort();  // our own mistake: a TensorType value is always one of the table
}

std::string_view known_tensor_type_name(std::uint32_t number) {
  if (auto known = find_tensor_type(number)) return known->name;
  for (const auto& [other, name] : kOtherNames) {
    if (other == number) return name;
  }
  return "unknown";
}

}  // namespace runnel
