// StarCoder 2: layer norms and biases everywhere, an ffn without a gate.
#include "model/architecture.h"

namespace runnel::arch {

Config starcoder2(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm = Norm::kLayer;
  config.norm_epsilon = metadata.number("attention.layer_norm_epsilon");
  config.activation = Activation::kGelu;
  config.is_gated = false;
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  return config;
}

}  // namespace runnel::arch
