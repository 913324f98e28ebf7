// GLM 4 of 2025: half of each head rotates, pairs side by side; norms before and after each part of
// a layer; gate and up in one tensor.
#include "model/architecture.h"

namespace runnel::arch {

Config glm4(const gguf::File& file) {
  Config config = llama(file);
  config.is_gate_up_fused = true;
  return config;
}

}  // namespace runnel::arch
