// Block formats of GGUF weights to float and back: the plain, portable versions, which define what
// the stored bits mean. Block layouts: the ggml project's quantisation formats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor_type.h"

namespace runnel::kernels {

// Writes n floats (a whole number of blocks) from the blocks at `data`.
void dequantize_row(TensorType type, const std::byte* data, float* out, std::int64_t n);

// Writes the blocks of n finite floats (a whole number of blocks) to `out`: round-to-nearest
// quantisation that loses no more than the format must (each format's usual reference quantiser).
// For made models and tests.
void quantize_row(TensorType type, const float* in, std::byte* out, std::int64_t n);

}  // namespace runnel::kernels
