// Gemma 1 to 3: scaled embeddings. Gemma 2 and 3: a norm before and after each part of a layer,
// layers that see their last few tokens only between those that see everything. Gemma 2 caps
// attention scores and logits; Gemma 3 normalises q and k, and its local layers keep a rotary base
// of their own. Norm weights are stored in files with their 1 added.
#include <cmath>

#include "model/architecture.h"

namespace runnel::arch {
namespace {

Config read_gemma(const Metadata& metadata) {
  Config config = read_common(metadata);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.activation = Activation::kGelu;
  config.embedding_scale = std::sqrt(static_cast<float>(config.dim));
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  return config;
}

// The 27B models scale scores by the residual stream's share of a head instead of the head's size;
// files do not say so, their number of layers tells.
void scale_by_share(Config& config) {
  const int share = config.dim / config.n_heads;
  config.attention_scale = 1 / std::sqrt(static_cast<float>(share));
}

}  // namespace

Config gemma(const gguf::File& file) { return read_gemma(Metadata(file)); }

Config gemma2(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_gemma(metadata);
  constexpr int kLayersOf27B = 46;
  if (config.n_layers == kLayersOf27B) scale_by_share(config);
  config.attention_softcap = metadata.number("attn_logit_softcapping", 50);
  config.final_softcap = metadata.number("final_logit_softcapping", 30);
  const int window = metadata.count("attention.sliding_window", 4096);
  config.local_windows = alternate_local(config.n_layers, window, 2);
  return config;
}

Config gemma3(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_gemma(metadata);
  constexpr int kLayersOf27B = 62;
  if (config.n_layers == kLayersOf27B) scale_by_share(config);
  config.final_softcap = metadata.number("final_logit_softcapping", 0);
  const double local_base = static_cast<double>(metadata.number("rope.freq_base_swa", 10000));
  config.local_rope = make_rope(RopeStyle::kHalves, 2 * config.rope.n_pairs(), local_base, {}, {});
  const int window = metadata.count("attention.sliding_window");
  const int period = metadata.count("attention.sliding_window_pattern", 6);
  config.local_windows = alternate_local(config.n_layers, window, period);
  return config;
}

}  // namespace runnel::arch
