// MPT: no positions in the residual stream; every score falls linearly with distance (ALiBi).
#include "model/architecture.h"

namespace runnel::arch {

Config mpt(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm = Norm::kLayer;
  config.norm_epsilon = metadata.number("attention.layer_norm_epsilon");
  config.activation = Activation::kGelu;
  config.is_gated = false;
  config.max_alibi_bias = metadata.number("attention.max_alibi_bias");
  config.qkv_clamp = metadata.number("attention.clamp_kqv", 0);
  return config;
}

}  // namespace runnel::arch
