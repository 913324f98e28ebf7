// Which tensor type each matrix of a made model gets.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "model/make_model.h"
#include "runnel/error.h"

namespace runnel {
namespace {

// In the mixes, the layers whose most sensitive matrices get Q6_K: the first and the last eighth,
// and every third between.
bool is_favoured(int layer, int n_layers) {
  const int eighth = n_layers / 8;
  return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

bool is_quantised(TensorType type) { return traits(type).block_elements > 1; }

// The next best type with smaller blocks.
TensorType smaller_blocks(TensorType type) {
  switch (type) {
    case TensorType::kQ2_K:
    case TensorType::kQ3_K:
      return TensorType::kQ4_0;
    case TensorType::kNVFP4:
      return TensorType::kQ4_0;
    case TensorType::kIQ1_S:
    case TensorType::kIQ1_M:
    case TensorType::kIQ2_XXS:
    case TensorType::kIQ2_XS:
    case TensorType::kIQ2_S:
    case TensorType::kIQ3_XXS:
    case TensorType::kIQ3_S:
    case TensorType::kIQ4_XS:
    case TensorType::kTQ1_0:
    case TensorType::kTQ2_0:
      return TensorType::kIQ4_NL;
    case TensorType::kQ4_K:
      return TensorType::kQ5_0;
    case TensorType::kQ5_K:
      return TensorType::kQ5_1;
    case TensorType::kQ6_K:
      return TensorType::kQ8_0;
    default:
      return TensorType::kF16;
  }
}

TensorType fitting(TensorType type, std::int64_t cols) {
  while (cols % traits(type).block_elements != 0) type = smaller_blocks(type);
  return type;
}

}  // namespace

StorageType StorageType::parse(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  StorageType storage;
  storage.is_mix_ = lower == "q4_k_m" || lower == "q5_k_m";
  if (storage.is_mix_) lower.resize(lower.size() - 2);
  const auto found = find_tensor_type(lower);
  if (!found) {
    throw Error(
        fmt::format("type '{}': want one of f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, "
                    "q3_k, q4_k, q4_k_m, q5_k, q5_k_m, q6_k, mxfp4, nvfp4, iq1_s, iq1_m, "
                    "iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl, iq4_xs, tq1_0, tq2_0",
                    name));
  }
  storage.plain_ = found->type;
  return storage;
}

TensorType StorageType::type_of(Role role, int layer, const ModelShape& shape,
                                std::int64_t cols) const {
  TensorType type = plain_;
  // MXFP4 is made for experts; what surrounds them is stored in Q8_0.
  if (plain_ == TensorType::kMXFP4 && shape.n_experts > 0 && role != Role::kExperts)
    type = TensorType::kQ8_0;
  const bool is_output = role == Role::kOutput || (role == Role::kEmbeddings && shape.is_tied);
  if (is_output && is_quantised(type) && type != TensorType::kQ8_0) type = TensorType::kQ6_K;
  if (is_mix_) {
    const bool is_sensitive = role == Role::kValue || role == Role::kFfnDown;
    if (is_sensitive && is_favoured(layer, shape.n_layers)) type = TensorType::kQ6_K;
    if (role == Role::kQkv)
      type = plain_ == TensorType::kQ4_K ? TensorType::kQ5_K : TensorType::kQ6_K;
  }
  return fitting(type, cols);
}

}  // namespace runnel
