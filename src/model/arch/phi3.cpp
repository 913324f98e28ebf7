// Phi 3 to 4: q, k, v in one tensor and gate and up in another; a part of each head may rotate;
// models of long contexts have two sets of rotary frequencies (LongRoPE). Phi 3 mini of 4K sees its
// last 2,047 tokens.
#include "model/architecture.h"

namespace runnel::arch {

Config phi3(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.is_gate_up_fused = true;
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  read_long_rope(metadata, config);
  return config;
}

}  // namespace runnel::arch
