// Hunyuan (dense): each head of q and k is normalised after it is rotated.
#include "model/architecture.h"

namespace runnel::arch {

Config hunyuan_dense(const gguf::File& file) {
  Config config = qwen2(file);
  config.normalizes_rotated = true;
  return config;
}

}  // namespace runnel::arch
