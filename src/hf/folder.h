// A folder as transformers saves a model (config.json, safetensors, tokenizer.json), turned into
// the GGUF file that it would be, in memory: from there on it is loaded as every model. Nothing is
// fetched from anywhere.
#pragma once

#include <cstddef>
#include <filesystem>

#include "base/large_pages.h"

namespace runnel::hf {

struct FileInMemory {
  PageBuffer data;
  std::size_t n_bytes = 0;
};

// Error: a file that is missing or damaged, a kind of model or tokenizer that is not known, a
// tensor that is missing, has a type of its own, or that nobody asked for.
FileInMemory read_folder(const std::filesystem::path& folder);

}  // namespace runnel::hf
