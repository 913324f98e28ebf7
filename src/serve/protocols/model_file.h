// The file of the model, as Ollama's clients are told of it.
#pragma once

#include <cstdint>
#include <string>

#include "runnel/runnel.h"

namespace runnel::serve {

struct ModelFile {
  std::uint64_t bytes = 0;
  std::int64_t changed = 0;  // seconds since 1970; 0: not known
  std::string n_parameters;  // "134.52M"
  std::string quantization;  // "Q4_K_M": as the file calls it, or the type of most of its weights
};

ModelFile file_of(const Model& model);

// 134515008 as "134.52M", 7600000000 as "7.6B".
std::string short_count(std::int64_t n);

}  // namespace runnel::serve
