// EXAONE 4: norms as OLMo 2's, but of each head of q and k. In the 32B model three of four layers
// are local, and the others have no positions.
#include "model/architecture.h"

namespace runnel::arch {

Config exaone4(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.has_pre_norms = false;
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  if (file.get_int("exaone4.attention.sliding_window", 0) > 0) {
    config.local_windows =
        alternate_local(config.n_layers, metadata.count("attention.sliding_window"), 4);
    for (const int window : config.local_windows) config.unrotated.push_back(window == 0);
  }
  return config;
}

}  // namespace runnel::arch
