// Qwen 1.5 to 2.5: as Llama, with biases on q, k and v and the other order of rotary pairs.
#include "model/architecture.h"

namespace runnel::arch {

Config qwen2(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  config.local_windows = read_local_windows(metadata, config);
  return config;
}

}  // namespace runnel::arch
