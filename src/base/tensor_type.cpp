#include "base/tensor_type.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <utility>

namespace runnel {
namespace {

constexpr std::array<TensorTypeTraits, 14> kTypes = {{
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
}};

constexpr std::array<std::pair<std::uint32_t, std::string_view>, 20> kOtherNames = {{
    {9, "Q8_1"},   {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"},        {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},         {23, "IQ4_XS"},
    {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},           {28, "F64"},
    {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {4, "Q4_2 (removed)"}, {5, "Q4_3 (removed)"},
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
