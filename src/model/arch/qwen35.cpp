// Qwen 3 Next and Qwen 3.5: three of four layers are gated delta nets, whose state has one size for
// ever; the others are attention with an output gate, a part of each head rotated. Tokens of the
// sinks and the window are thus seen by every fourth layer, and everything before them lives on in
// the states of the rest. With experts, one more that every token takes, at a share of its own.
//
// The two differ in which key head a value head has: Qwen 3 Next keeps those that share one side by
// side, files of Qwen 3.5 have them a whole round of key heads apart.
#include <fmt/format.h>

#include "model/architecture.h"

namespace runnel::arch {
namespace {

DeltaNet read_delta_net(const Metadata& metadata) {
  DeltaNet net = {.n_key_heads = metadata.count("ssm.group_count"),
                  .n_value_heads = metadata.count("ssm.time_step_rank"),
                  .head_dim = metadata.count("ssm.state_size"),
                  .conv_width = metadata.count("ssm.conv_kernel")};
  const std::int64_t inner = metadata.count("ssm.inner_size");
  constexpr int kMost = 1 << 12;
  if (net.n_value_heads % net.n_key_heads != 0 || net.n_value_heads > kMost ||
      net.head_dim > 1024 || net.conv_width > 64 ||
      inner != std::int64_t{net.n_value_heads} * net.head_dim) {
    throw Error(fmt::format(
        "{}: metadata ssm: want value heads that are a multiple of the key heads, at most {} of at "
        "most 1024 dimensions, inner_size of all of them, and a convolution of at most 64 tokens; "
        "found {} value heads, {} key heads, {} dimensions, inner_size {}, {} tokens",
        metadata.file().name(), kMost, net.n_value_heads, net.n_key_heads, net.head_dim, inner,
        net.conv_width));
  }
  return net;
}

// Layers behind the last one guess further tokens; they are not run.
void skip_guessing_layers(const Metadata& metadata, Config& config) {
  const std::int64_t n = metadata.file().get_int(config.architecture + ".nextn_predict_layers", 0);
  if (n < 0 || n >= config.n_layers) {
    throw Error(fmt::format("{}: metadata nextn_predict_layers: want 0 to {}, found {}",
                            metadata.file().name(), config.n_layers - 1, n));
  }
  config.n_skipped_layers = static_cast<int>(n);
  config.n_layers -= config.n_skipped_layers;
}

}  // namespace

Config qwen35(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  skip_guessing_layers(metadata, config);
  read_experts(metadata, config);
  config.has_shared_gate = config.shared_ffn_dim > 0;
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kHalves);
  config.ffn_norm_name = "post_attention_norm";
  config.has_output_gate = true;
  config.delta_net = read_delta_net(metadata);
  config.delta_net.is_tiled = config.architecture != "qwen3next";
  const int period = metadata.count("full_attention_interval", 4);
  for (int layer = 0; layer < config.n_layers; ++layer)
    config.mixers.push_back((layer + 1) % period == 0 ? Mixer::kAttention : Mixer::kDeltaNet);
  return config;
}

}  // namespace runnel::arch
