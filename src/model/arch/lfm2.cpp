// LFM 2: most layers are short gated convolutions, the others attention with normalised heads; a
// file says which by the layer's number of KV heads, 0 for a convolution. With experts, the first
// layers have none, a bias helps to choose, and shares are sigmoids.
#include <fmt/format.h>

#include "model/architecture.h"

namespace runnel::arch {
namespace {

void read_lfm2_experts(const Metadata& metadata, Config& config) {
  config.dense_ffn_dim = config.ffn_dim;
  read_experts(metadata, config);
  if (config.n_experts == 0) return;
  const std::int64_t n_dense =
      metadata.file().get_int(config.architecture + ".leading_dense_block_count", 0);
  config.n_dense_layers = n_dense > 0 ? metadata.count("leading_dense_block_count") : 0;
  constexpr int kSoftmax = 1;
  constexpr int kSigmoid = 2;
  const int function = metadata.count("expert_gating_func", kSoftmax);
  if (function != kSoftmax && function != kSigmoid) {
    throw Error(
        fmt::format("{}: metadata expert_gating_func: want 1 (softmax) or 2 (sigmoid), "
                    "found {}",
                    metadata.file().name(), function));
  }
  config.has_sigmoid_router = function == kSigmoid;
}

}  // namespace

Config lfm2(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  config.output_norm_name = "token_embd_norm";
  read_lfm2_experts(metadata, config);
  config.short_conv_width = metadata.count("shortconv.l_cache");
  if (config.short_conv_width > 64) {
    throw Error(fmt::format("{}: metadata shortconv.l_cache: want 1 to 64, found {}", file.name(),
                            config.short_conv_width));
  }
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const bool has_keys = file.find_tensor(fmt::format("blk.{}.attn_q.weight", layer)) != nullptr;
    config.mixers.push_back(has_keys ? Mixer::kAttention : Mixer::kShortConv);
  }
  return config;
}

}  // namespace runnel::arch
