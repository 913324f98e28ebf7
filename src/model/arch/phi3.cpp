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
  const std::int64_t window = file.get_int("phi3.attention.sliding_window", 0);
  if (window > 0 && window < config.trained_context)
    config.local_windows.assign(static_cast<std::size_t>(config.n_layers),
                                static_cast<int>(window));
  return config;
}

}  // namespace runnel::arch
