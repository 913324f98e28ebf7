// The element types of GGUF tensors and the size of their blocks.
// Format: the GGUF specification of the ggml project, section "tensor types".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace runnel {

// Values are the numbers stored in GGUF files.
enum class TensorType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
};

struct TensorTypeTraits {
  TensorType type;
  std::string_view name;    // as people write it: "Q4_K"
  int block_elements;       // weights in a block; a row is a whole number of blocks
  std::size_t block_bytes;  // bytes of a block
};

// nullopt for a type this library does not read.
std::optional<TensorTypeTraits> find_tensor_type(std::uint32_t number);
std::optional<TensorTypeTraits> find_tensor_type(std::string_view name);  // case-insensitive

const TensorTypeTraits& traits(TensorType type);

// The name of any type number a GGUF file may hold, for errors: "Q8_K", or "unknown".
std::string_view known_tensor_type_name(std::uint32_t number);

// n_elements must be a whole number of blocks.
inline std::size_t bytes_of(TensorType type, std::int64_t n_elements) {
  const TensorTypeTraits& t = traits(type);
  return static_cast<std::size_t>(n_elements / t.block_elements) * t.block_bytes;
}

}  // namespace runnel
