// Qwen 3, dense and with experts: as Qwen 2 without its biases, each head of q and k normalised
// before it is rotated.
#include "model/architecture.h"

namespace runnel::arch {

Config qwen3(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  read_experts(metadata, config);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  config.local_windows = read_local_windows(metadata, config);
  return config;
}

}  // namespace runnel::arch
