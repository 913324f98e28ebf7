#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <string_view>

#include "kernels/pack/dequantize.h"

namespace runnel {
namespace {

// Takes tensors by name, checks their shapes and remembers what was taken.
class Loader {
 public:
  explicit Loader(const gguf::File& file) : file_(file) {}

  bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }

  Matrix matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
    const gguf::Tensor& t = take(name, {cols, rows});
    return {t.type, rows, cols, t.data.data()};
  }

  // One matrix for each expert, from a tensor of three dimensions.
  std::vector<Matrix> matrices(const std::string& name, int n, std::int64_t rows,
                               std::int64_t cols) {
    const gguf::Tensor& t = take(name, {cols, rows, n});
    std::vector<Matrix> result;
    result.reserve(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {
      result.push_back(
          {t.type, rows, cols,
           t.data.data() + static_cast<std::size_t>(i) * bytes_of(t.type, rows * cols)});
    }
    return result;
  }

  Vector vector(const std::string& name, std::initializer_list<std::int64_t> shape) {
    const gguf::Tensor& t = take(name, shape);
    Vector result(static_cast<std::size_t>(t.n_elements()));
    kernels::dequantize_row(t.type, t.data.data(), result.data(), t.n_elements());
    const auto is_finite = [](float x) { return std::isfinite(x); };
    if (const auto bad = std::find_if_not(result.begin(), result.end(), is_finite);
        bad != result.end()) {
      throw Error(fmt::format("{}: tensor {}: want finite numbers, element {} is {}", file_.name(),
                              name, bad - result.begin(), *bad));
    }
    return result;
  }
  Vector optional_vector(const std::string& name, std::initializer_list<std::int64_t> shape) {
    return has(name) ? vector(name, shape) : Vector{};
  }

  Linear linear(const std::string& name, std::int64_t rows, std::int64_t cols) {
    return {matrix(name + ".weight", rows, cols), optional_vector(name + ".bias", {rows})};
  }
  Linear optional_linear(const std::string& name, std::int64_t rows, std::int64_t cols) {
    return has(name + ".weight") ? linear(name, rows, cols) : Linear{};
  }
  NormWeights norm(const std::string& name, std::int64_t n) {
    return {vector(name + ".weight", {n}), optional_vector(name + ".bias", {n})};
  }
  NormWeights optional_norm(const std::string& name, std::int64_t n) {
    return has(name + ".weight") ? norm(name, n) : NormWeights{};
  }

  void ignore(const std::string& name) { taken_.insert(name); }
  void ignore_all(const std::string& prefix) {
    for (const gguf::Tensor& t : file_.tensors()) {
      if (t.name.compare(0, prefix.size(), prefix) == 0) ignore(std::string(t.name));
    }
  }
  std::size_t bytes() const { return bytes_; }
  void check_all_taken(const std::string& architecture) const {
    for (const gguf::Tensor& t : file_.tensors()) {
      if (taken_.count(t.name) == 0) {
        throw Error(fmt::format("{}: tensor {}: not used by architecture '{}' as supported here",
                                file_.name(), t.name, architecture));
      }
    }
  }

 private:
  const gguf::Tensor& take(const std::string& name, std::initializer_list<std::int64_t> shape) {
    const gguf::Tensor* t = file_.find_tensor(name);
    const std::string wanted = gguf::shape_text({shape.begin(), shape.size()});
    if (t == nullptr)
      throw Error(fmt::format("{}: tensor {}: want {}, file has none", file_.name(), name, wanted));
    bool fits = static_cast<std::size_t>(t->n_dims) <= shape.size();
    for (std::size_t i = 0; i < shape.size() && fits; ++i) fits = t->shape[i] == shape.begin()[i];
    if (!fits) {
      throw Error(
          fmt::format("{}: tensor {}: want {}, file has {}", file_.name(), name, wanted,
                      gguf::shape_text({t->shape.data(), static_cast<std::size_t>(t->n_dims)})));
    }
    if (taken_.emplace(t->name).second) bytes_ += t->data.size();
    return *t;
  }

  const gguf::File& file_;
  std::set<std::string, std::less<>> taken_;
  std::size_t bytes_ = 0;
};

// Rows [first, first + n) of a linear map.
Linear rows_of(const Linear& whole, std::int64_t first, std::int64_t n) {
  Linear part = {whole.weight, {}};
  part.weight.rows = n;
  part.weight.data += static_cast<std::size_t>(first) * whole.weight.row_bytes();
  if (!whole.bias.empty())
    part.bias.assign(whole.bias.begin() + first, whole.bias.begin() + first + n);
  return part;
}

void load_qkv(Loader& load, const std::string& block, const Config& c, int index,
              LayerWeights& layer) {
  const int q_dim = c.heads(index).q_dim();
  const int kv_dim = c.heads(index).kv_dim();
  if (load.has(block + "attn_qkv.weight")) {
    const Linear fused = load.linear(block + "attn_qkv", q_dim + 2 * kv_dim, c.dim);
    layer.q = rows_of(fused, 0, q_dim);
    layer.k = rows_of(fused, q_dim, kv_dim);
    layer.v = rows_of(fused, q_dim + kv_dim, kv_dim);
    return;
  }
  layer.q = load.linear(block + "attn_q", (c.has_output_gate ? 2 : 1) * q_dim, c.dim);
  if (!c.has_keys(index)) {  // what files may have nevertheless is not read
    load.ignore_all(block + "attn_k");
    load.ignore_all(block + "attn_v");
    return;
  }
  layer.k = load.linear(block + "attn_k", kv_dim, c.dim);
  layer.v = c.normalizes_values ? load.optional_linear(block + "attn_v", kv_dim, c.dim)
                                : load.linear(block + "attn_v", kv_dim, c.dim);
}

void load_experts(Loader& load, const std::string& block, const Config& c, LayerWeights& layer) {
  layer.router = load.linear(block + "ffn_gate_inp", c.n_experts, c.dim);
  layer.router_bias = load.optional_vector(block + "exp_probs_b.bias", {c.n_experts});
  layer.experts.resize(static_cast<std::size_t>(c.n_experts));
  const auto spread = [&](const std::string& name, Linear FeedForward::*part, std::int64_t rows,
                          std::int64_t cols) {
    const std::vector<Matrix> weights =
        load.matrices(block + name + ".weight", c.n_experts, rows, cols);
    const Vector biases = load.optional_vector(block + name + ".bias", {rows, c.n_experts});
    for (std::size_t e = 0; e < weights.size(); ++e) {
      Linear& linear = layer.experts[e].*part;
      linear.weight = weights[e];
      if (biases.empty()) continue;
      const auto first = biases.begin() + static_cast<std::ptrdiff_t>(e) * rows;
      linear.bias.assign(first, first + rows);
    }
  };
  if (load.has(block + "ffn_gate_up_exps.weight")) {
    const std::vector<Matrix> both =
        load.matrices(block + "ffn_gate_up_exps.weight", c.n_experts, 2 * c.ffn_dim, c.dim);
    for (std::size_t e = 0; e < both.size(); ++e) {
      layer.experts[e].gate = rows_of({both[e], {}}, 0, c.ffn_dim);
      layer.experts[e].up = rows_of({both[e], {}}, c.ffn_dim, c.ffn_dim);
    }
  } else {
    if (c.is_gated) spread("ffn_gate_exps", &FeedForward::gate, c.ffn_dim, c.dim);
    spread("ffn_up_exps", &FeedForward::up, c.ffn_dim, c.dim);
  }
  spread("ffn_down_exps", &FeedForward::down, c.dim, c.ffn_dim);
}

FeedForward load_ffn(Loader& load, const std::string& block, const std::string& suffix,
                     std::int64_t ffn_dim, const Config& c) {
  FeedForward ffn;
  if (c.is_gate_up_fused) {
    const Linear fused = load.linear(block + "ffn_up" + suffix, 2 * ffn_dim, c.dim);
    ffn.gate = rows_of(fused, 0, ffn_dim);
    ffn.up = rows_of(fused, ffn_dim, ffn_dim);
  } else {
    if (c.is_gated) ffn.gate = load.linear(block + "ffn_gate" + suffix, ffn_dim, c.dim);
    ffn.up = load.linear(block + "ffn_up" + suffix, ffn_dim, c.dim);
  }
  ffn.down = load.linear(block + "ffn_down" + suffix, c.dim, ffn_dim);
  return ffn;
}

void load_head_norms(Loader& load, const std::string& block, const Config& c, int index,
                     LayerWeights& layer) {
  const bool is_required = c.normalizes_all_heads || c.normalizes_rotated || c.normalizes_values;
  if (!is_required && !load.has(block + "attn_q_norm.weight")) return;
  const Heads heads = c.heads(index);
  layer.q_norm =
      load.norm(block + "attn_q_norm", c.normalizes_all_heads ? heads.q_dim() : heads.head_dim);
  if (!layer.k.weight) return;
  layer.k_norm =
      load.norm(block + "attn_k_norm", c.normalizes_all_heads ? heads.kv_dim() : heads.head_dim);
  if (!c.normalizes_rotated) return;
  layer.rotated_weights = layer.q_norm.weight;
  for (std::size_t i = 0; i < layer.rotated_weights.size(); ++i)
    layer.rotated_weights[i] *= layer.k_norm.weight[i];
}

// [channels, width]; files have a dimension of 1 between, or not.
Vector load_convolution(Loader& load, const std::string& name, int channels, int width) {
  return load.vector(name, {width, channels});
}

void load_delta_net(Loader& load, const std::string& block, const Config& c, DeltaNetWeights& w) {
  const DeltaNet& net = c.delta_net;
  w.qkv = load.linear(block + "attn_qkv", net.conv_dim(), c.dim);
  w.gate = load.linear(block + "attn_gate", net.value_dim(), c.dim);
  if (load.has(block + "ssm_ba.weight")) {
    w.beta = load.linear(block + "ssm_ba", 2 * net.n_value_heads, c.dim);
  } else {
    w.beta = load.linear(block + "ssm_beta", net.n_value_heads, c.dim);
    w.alpha = load.linear(block + "ssm_alpha", net.n_value_heads, c.dim);
  }
  w.convolution =
      load_convolution(load, block + "ssm_conv1d.weight", net.conv_dim(), net.conv_width);
  w.decay = load.vector(block + "ssm_a", {net.n_value_heads});
  w.decay_bias = load.vector(block + "ssm_dt.bias", {net.n_value_heads});
  w.norm = load.norm(block + "ssm_norm", net.head_dim);
  w.output = load.linear(block + "ssm_out", c.dim, net.value_dim());
}

void load_short_conv(Loader& load, const std::string& block, const Config& c, ShortConvWeights& w) {
  w.input = load.linear(block + "shortconv.in_proj", 3 * c.dim, c.dim);
  w.convolution =
      load_convolution(load, block + "shortconv.conv.weight", c.dim, c.short_conv_width);
  w.output = load.linear(block + "shortconv.out_proj", c.dim, c.dim);
}

void load_attention(Loader& load, const std::string& block, const Config& c, int index,
                    LayerWeights& layer) {
  load_qkv(load, block, c, index, layer);
  layer.output = load.linear(block + "attn_output", c.dim, c.heads(index).q_dim());
  load_head_norms(load, block, c, index, layer);
  layer.sink_logits = load.optional_vector(block + "attn_sinks.weight", {c.n_heads});
}

// The router's norm has its own weights over sqrt(dim).
void load_dense_beside(Loader& load, const std::string& block, const Config& c, int index,
                       LayerWeights& layer) {
  DenseBeside& beside = layer.beside;
  beside.router_norm.weight = load.vector(block + "ffn_gate_inp.scale", {c.dim});
  for (float& weight : beside.router_norm.weight) weight /= std::sqrt(static_cast<float>(c.dim));
  beside.norm = std::move(layer.ffn_norm);
  beside.post_norm = load.norm(block + "post_ffw_norm_1", c.dim);
  layer.ffn_norm = load.norm(block + "pre_ffw_norm_2", c.dim);
  beside.expert_post_norm = load.norm(block + "post_ffw_norm_2", c.dim);
  beside.expert_scales = load.optional_vector(block + "ffn_down_exps.scale", {c.n_experts});
  layer.ffn = load_ffn(load, block, "", c.dense_dim(index), c);
}

void load_layer_input(Loader& load, const std::string& block, const Config& c,
                      LayerWeights& layer) {
  layer.input.gate = load.linear(block + "inp_gate", c.layer_input_dim, c.dim);
  layer.input.output = load.linear(block + "proj", c.dim, c.layer_input_dim);
  layer.input_post_norm = load.norm(block + "post_norm", c.dim);
}

void load_layer_inputs(Loader& load, const Config& c, LayerInputWeights& w) {
  const std::int64_t width = std::int64_t{c.n_layers} * c.layer_input_dim;
  w.table = load.matrix("per_layer_token_embd.weight", c.vocabulary_size, width);
  w.projection = load.linear("per_layer_model_proj", width, c.dim);
  w.norm = load.norm("per_layer_proj_norm", c.layer_input_dim);
}

LayerWeights load_layer(Loader& load, int index, const Config& c) {
  const std::string block = fmt::format("blk.{}.", index);
  LayerWeights layer;
  if (c.has_pre_norms) layer.attention_norm = load.norm(block + c.attention_norm_name, c.dim);
  switch (c.mixer(index)) {
    case Mixer::kAttention:
      load_attention(load, block, c, index, layer);
      break;
    case Mixer::kDeltaNet:
      load_delta_net(load, block, c, layer.delta_net);
      break;
    case Mixer::kShortConv:
      load_short_conv(load, block, c, layer.short_conv);
      break;
  }
  if (c.is_parallel) {
    layer.ffn_norm = load.optional_norm(block + c.ffn_norm_name, c.dim);
  } else if (c.has_pre_norms) {
    layer.ffn_norm = load.norm(block + c.ffn_norm_name, c.dim);
  }
  if (c.ffn_norm_name != std::string_view("post_attention_norm")) {
    layer.attention_post_norm = load.optional_norm(block + "post_attention_norm", c.dim);
  }
  layer.ffn_post_norm = load.optional_norm(block + "post_ffw_norm", c.dim);
  if (c.has_experts(index)) {
    load_experts(load, block, c, layer);
    if (c.shared_ffn_dim > 0) layer.shared = load_ffn(load, block, "_shexp", c.shared_ffn_dim, c);
    if (c.has_shared_gate)
      layer.shared_gate.weight = load.matrix(block + "ffn_gate_inp_shexp.weight", 1, c.dim);
    if (c.has_dense_beside) load_dense_beside(load, block, c, index, layer);
  } else {
    layer.ffn = load_ffn(load, block, "", c.dense_dim(index), c);
  }
  if (c.layer_input_dim > 0) load_layer_input(load, block, c, layer);
  if (const Vector scale = load.optional_vector(block + "layer_output_scale.weight", {1});
      !scale.empty())
    layer.output_scale = scale.front();
  // Rotary frequencies that old converters wrote beside what the metadata already says.
  load.ignore(block + "attn_rot_embd.weight");
  load.ignore(block + "attn_rot_embd");
  return layer;
}

}  // namespace

Weights load_weights(const gguf::File& file, const Config& config) {
  Loader load(file);
  Weights weights;
  weights.embeddings = load.matrix("token_embd.weight", config.vocabulary_size, config.dim);
  if (config.layer_input_dim > 0) load_layer_inputs(load, config, weights.layer_inputs);
  for (int i = 0; i < config.n_layers; ++i) weights.layers.push_back(load_layer(load, i, config));
  weights.output_norm = load.norm(config.output_norm_name, config.dim);
  for (float& weight : weights.output_norm.weight) weight *= config.logit_scale;
  for (float& bias : weights.output_norm.bias) bias *= config.logit_scale;
  weights.output = load.optional_linear("output", config.vocabulary_size, config.dim);
  if (!weights.output.weight) weights.output.weight = weights.embeddings;
  for (int i = 0; i < config.n_skipped_layers; ++i)
    load.ignore_all(fmt::format("blk.{}.", config.n_layers + i));
  for (const char* factors :
       {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
    load.ignore(factors);  // read with the Config
  load.check_all_taken(config.architecture);
  weights.bytes = load.bytes();
  weights.stored = file.is_mapped() ? StoredPages::kComeBack : StoredPages::kStay;
  return weights;
}

}  // namespace runnel
