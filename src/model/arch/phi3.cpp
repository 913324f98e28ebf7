// Phi 3 to 4: q, k, v in one tensor and gate and up in another; a part of each head may rotate;
// models of long contexts have two sets of rotary frequencies (LongRoPE). The 4K models of mini see
// their last 2,047 tokens in every layer; larger windows than the trained context say nothing.
#include "model/architecture.h"

namespace runnel::arch {

Config phi3(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.is_gate_up_fused = true;
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  read_long_rope(metadata, config);
  config.local_windows = read_local_windows(metadata, config);
  return config;
}

}  // namespace runnel::arch
