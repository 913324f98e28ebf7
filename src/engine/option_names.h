// The words for policies and formats, on the command line and in what is written.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "runnel/options.h"

namespace runnel {

template <typename T, std::size_t N>
using Names = std::array<std::pair<std::string_view, T>, N>;

inline constexpr Names<Policy, 4> kPolicies{{{"dense", Policy::kDense},
                                             {"window", Policy::kWindow},
                                             {"sink", Policy::kSink},
                                             {"recompute", Policy::kRecompute}}};
inline constexpr Names<KvType, 5> kKvTypes{{{"f32", KvType::kF32},
                                            {"f16", KvType::kF16},
                                            {"bf16", KvType::kBF16},
                                            {"q8_0", KvType::kQ8_0},
                                            {"q4_0", KvType::kQ4_0}}};
inline constexpr Names<Softmax, 2> kSoftmaxes{
    {{"standard", Softmax::kStandard}, {"off-by-one", Softmax::kOffByOne}}};

template <typename T, std::size_t N>
std::string name_of(const Names<T, N>& names, T value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return std::string(name);
  }
  return "?";
}

// `name` is one of them.
template <typename T, std::size_t N>
T value_of(const Names<T, N>& names, std::string_view name) {
  for (const auto& [candidate, value] : names) {
    if (candidate == name) return value;
  }
  return names.front().second;
}

inline std::string policy_name(Policy policy) { return name_of(kPolicies, policy); }
inline std::string kv_type_name(KvType type) { return name_of(kKvTypes, type); }
inline std::string softmax_name(Softmax softmax) { return name_of(kSoftmaxes, softmax); }

}  // namespace runnel
