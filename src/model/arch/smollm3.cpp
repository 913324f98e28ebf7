// SmolLM3: as Llama, and every fourth layer has no positions (NoPE, arXiv 2501.18795).
#include "model/architecture.h"

namespace runnel::arch {

Config smollm3(const gguf::File& file) {
  Config config = llama(file);
  constexpr int kUnrotatedPeriod = 4;
  for (int layer = 0; layer < config.n_layers; ++layer)
    config.unrotated.push_back((layer + 1) % kUnrotatedPeriod == 0);
  return config;
}

}  // namespace runnel::arch
