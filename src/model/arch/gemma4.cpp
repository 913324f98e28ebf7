// Gemma 4: as Gemma 3, and more that differs by layer. Layers that see everything have larger heads
// than local ones, may have fewer KV heads, and no values but their keys; a quarter of each head
// rotates there, by frequencies that are those of the whole head (a file says so by divisors that
// make the others 0). Values are normalised, scores not scaled. The last layers may have no keys
// and values of their own, and every token may have a small input for each layer beside its
// embedding. With experts, a dense ffn stands beside them. Norm weights are stored as they are.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/architecture.h"

namespace runnel::arch {
namespace {

// Which layers are local: a list of yes and no, or a period.
std::vector<int> read_local_windows(const Metadata& metadata, int n_layers) {
  const int window = metadata.count("attention.sliding_window");
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  const gguf::Value* pattern = metadata.file().find(fmt::format("gemma4.{}", kKey));
  if (pattern == nullptr || pattern->as_array() == nullptr)
    return alternate_local(n_layers, window, metadata.count(kKey, 6));
  std::vector<int> windows = metadata.counts(kKey, n_layers);
  for (int& of_layer : windows) of_layer = of_layer != 0 ? window : 0;
  return windows;
}

// Of local layers; their rotation has no divisors.
void read_local_heads(const Metadata& metadata, Config& config) {
  const int dim = metadata.count("attention.key_length_swa", config.head_dim);
  const int value_dim = metadata.count("attention.value_length_swa", dim);
  const int n_rotated = metadata.count("rope.dimension_count_swa", dim);
  if (dim > config.head_dim || value_dim != dim || n_rotated > dim || n_rotated % 2 != 0) {
    throw Error(fmt::format(
        "{}: metadata attention.key_length_swa: want keys and values of one length, at most {}, "
        "and an even number of dimensions that rotate; found {}, {} and {}",
        metadata.file().name(), config.head_dim, dim, value_dim, n_rotated));
  }
  config.local_head_dim = dim;
  const double base = static_cast<double>(metadata.number("rope.freq_base_swa", 10000));
  config.local_rope = make_rope(RopeStyle::kHalves, n_rotated, base, {}, {});
}

void read_kv_heads(const Metadata& metadata, Config& config) {
  config.kv_heads = metadata.counts("attention.head_count_kv", config.n_layers);
  for (const int n : config.kv_heads) {
    if (n >= 1 && config.n_heads % n == 0) continue;
    throw Error(fmt::format("{}: metadata attention.head_count_kv: want divisors of {}, found {}",
                            metadata.file().name(), config.n_heads, n));
  }
}

// The layers before the last ones must hold keys of the same kind.
void read_shared_layers(const Metadata& metadata, Config& config) {
  const std::int64_t n = metadata.file().get_int("gemma4.attention.shared_kv_layers", 0);
  bool is_good = n >= 0 && n < config.n_layers;
  for (std::int64_t i = 0; is_good && i < n; ++i) {
    const bool is_local = config.local_window(config.n_layers - 1 - static_cast<int>(i)) > 0;
    const auto end = config.local_windows.end() - n;
    is_good = std::any_of(config.local_windows.begin(), end,
                          [&](int window) { return (window > 0) == is_local; });
  }
  if (!is_good) {
    throw Error(fmt::format(
        "{}: metadata attention.shared_kv_layers: want layers before them to share, found {} of {}",
        metadata.file().name(), n, config.n_layers));
  }
  config.n_shared_layers = static_cast<int>(n);
}

void read_layer_inputs(const Metadata& metadata, Config& config) {
  constexpr std::string_view kKey = "gemma4.embedding_length_per_layer_input";
  constexpr int kMost = 1 << 14;
  const std::int64_t dim = metadata.file().get_int(kKey, 0);
  if (dim < 0 || dim > kMost) {
    throw Error(fmt::format("{}: metadata {}: want 0 to {}, found {}", metadata.file().name(), kKey,
                            kMost, dim));
  }
  config.layer_input_dim = static_cast<int>(dim);
}

}  // namespace

Config gemma4(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata, ByLayer::kMayDiffer);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.activation = Activation::kGelu;
  config.embedding_scale = std::sqrt(static_cast<float>(config.dim));
  config.attention_scale = 1;
  config.normalizes_values = true;
  config.final_softcap = metadata.number("final_logit_softcapping", 0);
  config.rope = read_rope(metadata, config, RopeStyle::kHalves);
  config.local_windows = read_local_windows(metadata, config.n_layers);
  read_local_heads(metadata, config);
  read_kv_heads(metadata, config);
  read_shared_layers(metadata, config);
  config.dense_ffn_dims = metadata.counts("feed_forward_length", config.n_layers);
  config.dense_ffn_dim = config.ffn_dim;
  read_experts(metadata, config);
  config.has_dense_beside = config.n_experts > 0;
  read_layer_inputs(metadata, config);
  return config;
}

}  // namespace runnel::arch
