// What tells one model from another in a saved stream.
#pragma once

#include <array>
#include <cstddef>

#include "gguf/file.h"

namespace runnel {

using Fingerprint = std::array<std::byte, 16>;

inline constexpr std::size_t kSampleBytes = 4096;  // of each tensor

// A hash of the file's metadata, tensor table and size, and of the first bytes of each tensor:
// tells models apart at the cost of one page a tensor.
Fingerprint fingerprint(const gguf::File& file);

}  // namespace runnel
