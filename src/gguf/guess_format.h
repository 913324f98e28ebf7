// What a file that is not GGUF seems to be, for errors: people hand over the wrong file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace runnel::gguf {

// "a safetensors file", "a Git LFS pointer ...", or the first bytes. `bytes` is the whole file.
std::string guess_format(std::span<const std::byte> bytes);

}  // namespace runnel::gguf
