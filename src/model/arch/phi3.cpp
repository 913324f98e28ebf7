// Phi 3 to 4: q, k, v in one tensor and gate and up in another; a part of each head may rotate;
// models of long contexts have two sets of rotary frequencies (LongRoPE). The sliding window that
// files give is not applied: past it, windows of the default size see as much.
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
