// Falcon 7B, 11B and 40B: attention and ffn side by side, few KV heads, no gate. With a second norm
// (40B) attention has attn_norm_2 and attn_norm is the ffn's; otherwise both take attn_norm.
#include "model/architecture.h"

namespace runnel::arch {

Config falcon(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm = Norm::kLayer;
  config.norm_epsilon = metadata.number("attention.layer_norm_epsilon");
  config.activation = Activation::kGelu;
  config.is_gated = false;
  config.is_parallel = true;
  if (file.find_tensor("blk.0.attn_norm_2.weight") != nullptr) {
    config.attention_norm_name = "attn_norm_2";
    config.ffn_norm_name = "attn_norm";
  }
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  return config;
}

}  // namespace runnel::arch
