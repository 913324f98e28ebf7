// gpt-oss: experts with a clamped gate, a learned sink logit for each head (it joins the softmax's
// denominator, as if every token saw one more key), every other layer local, YaRN.
#include "model/architecture.h"

namespace runnel::arch {

Config gpt_oss(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  read_experts(metadata, config);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.activation = Activation::kSwigluOai;
  config.ffn_norm_name = "post_attention_norm";
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  const int window = metadata.count("attention.sliding_window");
  config.local_windows = alternate_local(config.n_layers, window, 2);
  return config;
}

}  // namespace runnel::arch
