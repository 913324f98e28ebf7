// SHA-256 of files (FIPS 180-4), as published beside models.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace runnel::cli {

// In lower-case hexadecimal. `progress` gets the bytes done so far. Error: cannot read.
std::string sha256_of(const std::filesystem::path& file,
                      const std::function<void(std::uint64_t)>& progress = {});

}  // namespace runnel::cli
