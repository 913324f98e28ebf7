// GPT-NeoX, Pythia: rotary on a part of each head, biases everywhere, attention and ffn side by
// side, each with its own norm (or one after the other in a few models).
#include "model/architecture.h"

namespace runnel::arch {

Config gptneox(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm = Norm::kLayer;
  config.norm_epsilon = metadata.number("attention.layer_norm_epsilon");
  config.activation = Activation::kGelu;
  config.is_gated = false;
  config.is_parallel = metadata.flag("use_parallel_residual", true);
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  return config;
}

}  // namespace runnel::arch
