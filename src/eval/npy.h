// NumPy's .npy format, version 1.0: little-endian floats in C order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace runnel::eval {

// `values` holds the product of `shape` numbers. Error names the path.
void write_npy(const std::filesystem::path& path, std::span<const float> values,
               const std::vector<std::int64_t>& shape);

}  // namespace runnel::eval
