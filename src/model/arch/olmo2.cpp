// OLMo 2 and 3: what attention and ffn give is normalised, not what they take; q and k are
// normalised over all heads together. In OLMo 3 three of four layers are local, and only the others
// have the positions scaled.
#include "model/architecture.h"

namespace runnel::arch {

Config olmo2(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.has_pre_norms = false;
  config.normalizes_all_heads = true;
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  if (file.get_int("olmo2.attention.sliding_window", 0) > 0) {
    const double base = static_cast<double>(metadata.number("rope.freq_base", 10000));
    config.local_rope = make_rope(RopeStyle::kHalves, 2 * config.rope.n_pairs(), base, {}, {});
    config.local_windows =
        alternate_local(config.n_layers, metadata.count("attention.sliding_window"), 4);
  }
  return config;
}

}  // namespace runnel::arch
