#include "model/tensor_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "model/config.h"
#include "model/made_vocabulary.h"
#include "runnel/error.h"

namespace runnel {
namespace {

// What the files of an architecture have in common.
struct Family {
  std::string_view architecture;
  Norm norm = Norm::kRms;
  bool has_norm_biases = false;
  bool is_qkv_fused = false;
  bool has_qkv_biases = false;
  bool has_other_biases = false;
  bool is_gated = true;
  bool has_head_norms = false;  // of q and k
  bool has_post_norms = false;
  bool has_pre_norms = true;
  bool normalizes_all_heads = false;  // of q and k together
  bool is_gate_up_fused = false;
  bool has_learned_sinks = false;
  bool has_output_gate = false;
  bool has_uneven_layers = false;          // Gemma 4: heads by layer, experts beside a dense ffn
  std::string_view ffn_norm = "ffn_norm";  // empty: none
  std::string_view output_norm = "output_norm";
};

constexpr Family kFamilies[] = {
    {.architecture = "llama"},
    {.architecture = "mpt", .norm = Norm::kLayer, .is_qkv_fused = true, .is_gated = false},
    {.architecture = "falcon",
     .norm = Norm::kLayer,
     .has_norm_biases = true,
     .is_qkv_fused = true,
     .is_gated = false,
     .ffn_norm = ""},
    {.architecture = "gptneox",
     .norm = Norm::kLayer,
     .has_norm_biases = true,
     .is_qkv_fused = true,
     .has_qkv_biases = true,
     .has_other_biases = true,
     .is_gated = false},
    {.architecture = "qwen2", .has_qkv_biases = true},
    {.architecture = "qwen3", .has_head_norms = true},
    {.architecture = "qwen3moe", .has_head_norms = true},
    {.architecture = "gemma"},
    {.architecture = "gemma2", .has_post_norms = true},
    {.architecture = "gemma3", .has_head_norms = true, .has_post_norms = true},
    {.architecture = "gemma4",
     .has_head_norms = true,
     .has_post_norms = true,
     .has_uneven_layers = true},
    {.architecture = "gpt-oss",
     .has_qkv_biases = true,
     .has_other_biases = true,
     .has_learned_sinks = true,
     .ffn_norm = "post_attention_norm"},
    {.architecture = "mistral3"},
    {.architecture = "smollm3"},
    {.architecture = "granite"},
    {.architecture = "granitemoe"},
    {.architecture = "minicpm"},
    {.architecture = "phi3", .is_qkv_fused = true, .is_gate_up_fused = true},
    {.architecture = "olmo2",
     .has_head_norms = true,
     .has_post_norms = true,
     .has_pre_norms = false,
     .normalizes_all_heads = true},
    {.architecture = "exaone4",
     .has_head_norms = true,
     .has_post_norms = true,
     .has_pre_norms = false},
    {.architecture = "seed_oss", .has_qkv_biases = true, .ffn_norm = "post_attention_norm"},
    {.architecture = "hunyuan-dense", .has_head_norms = true},
    {.architecture = "ernie4_5"},
    {.architecture = "glm4",
     .has_qkv_biases = true,
     .has_post_norms = true,
     .is_gate_up_fused = true},
    {.architecture = "starcoder2",
     .norm = Norm::kLayer,
     .has_norm_biases = true,
     .has_qkv_biases = true,
     .has_other_biases = true,
     .is_gated = false},
    {.architecture = "internlm2"},
    {.architecture = "qwen3next",
     .has_head_norms = true,
     .has_output_gate = true,
     .ffn_norm = "post_attention_norm"},
    {.architecture = "qwen35",
     .has_head_norms = true,
     .has_output_gate = true,
     .ffn_norm = "post_attention_norm"},
    {.architecture = "qwen35moe",
     .has_head_norms = true,
     .has_output_gate = true,
     .ffn_norm = "post_attention_norm"},
    {.architecture = "lfm2", .has_head_norms = true, .output_norm = "token_embd_norm"},
    {.architecture = "lfm2moe", .has_head_norms = true, .output_norm = "token_embd_norm"},
};

const Family& family_of(const ModelShape& shape) {
  for (const Family& family : kFamilies) {
    if (family.architecture == shape.architecture) return family;
  }
  throw Error(
      fmt::format("shape {}: architecture '{}' cannot be made", shape.name, shape.architecture));
}

// ---- metadata

// Adds what stands under an architecture's name.
class Keys {
 public:
  Keys(gguf::Header& header, std::string_view architecture)
      : header_(header), architecture_(architecture) {}
  void add(std::string_view key, const gguf::WritableValue& value) {
    header_.add(fmt::format("{}.{}", architecture_, key), value);
  }
  void add_count(std::string_view key, int n) { add(key, static_cast<std::uint32_t>(n)); }

 private:
  gguf::Header& header_;
  std::string_view architecture_;
};

void add_rope(Keys& keys, const ModelShape& s) {
  if (s.architecture == "mpt") return;
  keys.add_count("rope.dimension_count", s.rope_dims > 0 ? s.rope_dims : s.head_dim);
  keys.add("rope.freq_base", static_cast<float>(s.rope_base));
  if (s.has_long_rope) {
    keys.add("rope.scaling.attn_factor", 1.1f);
    keys.add_count("rope.scaling.original_context_length",
                   static_cast<int>(s.scaling.original_context));
  }
  if (s.scaling.kind == RopeScaling::Kind::kNone) return;
  const bool is_yarn = s.scaling.kind == RopeScaling::Kind::kYarn;
  keys.add("rope.scaling.type", is_yarn ? "yarn" : "linear");
  keys.add("rope.scaling.factor", static_cast<float>(s.scaling.factor));
  if (is_yarn) {
    keys.add_count("rope.scaling.original_context_length",
                   static_cast<int>(s.scaling.original_context));
  }
}

// Of Gemma 4.
bool is_local(const ModelShape& s, int layer) {
  return s.local_period > 0 && (layer + 1) % s.local_period != 0;
}
bool is_shared(const ModelShape& s, int layer) { return layer >= s.n_layers - s.n_shared_layers; }
int head_dim(const ModelShape& s, int layer) {
  return is_local(s, layer) && s.local_head_dim > 0 ? s.local_head_dim : s.head_dim;
}
int n_kv_heads(const ModelShape& s, int layer) {
  return is_local(s, layer) && s.local_kv_heads > 0 ? s.local_kv_heads : s.n_kv_heads;
}
int dense_ffn_dim(const ModelShape& s, int layer) {
  const int dim = s.dense_ffn_dim > 0 ? s.dense_ffn_dim : s.ffn_dim;
  return s.widens_shared && is_shared(s, layer) ? 2 * dim : dim;
}

void add_uneven_layers(Keys& keys, const ModelShape& s) {
  std::vector<bool> local;
  std::vector<std::int32_t> ffn_dims, kv_heads;
  for (int layer = 0; layer < s.n_layers; ++layer) {
    local.push_back(is_local(s, layer));
    ffn_dims.push_back(dense_ffn_dim(s, layer));
    kv_heads.push_back(n_kv_heads(s, layer));
  }
  keys.add("feed_forward_length", ffn_dims);
  keys.add("attention.head_count_kv", kv_heads);
  keys.add("attention.sliding_window_pattern", local);
  keys.add_count("attention.key_length", s.head_dim);
  keys.add_count("attention.value_length", s.head_dim);
  keys.add_count("attention.key_length_swa", s.local_head_dim);
  keys.add_count("attention.value_length_swa", s.local_head_dim);
  keys.add_count("attention.shared_kv_layers", s.n_shared_layers);
  keys.add_count("embedding_length_per_layer_input", s.layer_input_dim);
  keys.add_count("rope.dimension_count_swa", s.local_head_dim);
  keys.add("rope.freq_base_swa", 10000.0f);
  keys.add("final_logit_softcapping", 30.0f);
}

bool is_attention(const ModelShape& s, int layer) {
  return s.attention_period == 0 || (layer + 1) % s.attention_period == 0;
}

void add_mixers(Keys& keys, const ModelShape& s) {
  if (s.short_conv_width > 0) keys.add_count("shortconv.l_cache", s.short_conv_width);
  const DeltaNet& net = s.delta_net;
  if (net.n_key_heads == 0) return;
  keys.add_count("full_attention_interval", s.attention_period);
  keys.add_count("ssm.conv_kernel", net.conv_width);
  keys.add_count("ssm.inner_size", net.value_dim());
  keys.add_count("ssm.state_size", net.head_dim);
  keys.add_count("ssm.time_step_rank", net.n_value_heads);
  keys.add_count("ssm.group_count", net.n_key_heads);
  if (s.architecture != "qwen3next") {  // of text alone, all parts have one position
    const int pairs = s.rope_dims / 2;
    keys.add("rope.dimension_sections",
             std::vector<std::int32_t>{pairs - 2 * (pairs / 3), pairs / 3, pairs / 3, 0});
  }
}

void add_attention(Keys& keys, const ModelShape& s, const Family& family) {
  keys.add_count("attention.head_count", s.n_heads);
  if (s.short_conv_width > 0) {
    std::vector<std::int32_t> counts;
    for (int layer = 0; layer < s.n_layers; ++layer)
      counts.push_back(is_attention(s, layer) ? s.n_kv_heads : 0);
    keys.add("attention.head_count_kv", counts);
  } else if (!family.has_uneven_layers) {
    keys.add_count("attention.head_count_kv", s.n_kv_heads);
  }
  if (s.head_dim * s.n_heads != s.dim && !family.has_uneven_layers) {
    keys.add_count("attention.key_length", s.head_dim);
    keys.add_count("attention.value_length", s.head_dim);
  }
  if (s.local_window > 0) keys.add_count("attention.sliding_window", s.local_window);
  keys.add(family.norm == Norm::kRms ? "attention.layer_norm_rms_epsilon"
                                     : "attention.layer_norm_epsilon",
           1e-5f);
  if (s.architecture == "gemma2") {
    keys.add("attn_logit_softcapping", 50.0f);
    keys.add("final_logit_softcapping", 30.0f);
  }
  if (s.architecture == "mpt") {
    keys.add("attention.max_alibi_bias", s.max_alibi_bias);
    if (s.qkv_clamp > 0) keys.add("attention.clamp_kqv", s.qkv_clamp);
  }
  if (s.architecture == "gptneox") keys.add("use_parallel_residual", s.is_parallel);
  const auto add_scale = [&](const char* key, float scale) {
    if (scale != 0) keys.add(key, scale);
  };
  add_scale("embedding_scale", s.embedding_scale);
  add_scale("residual_scale", s.residual_scale);
  add_scale("attention.scale", s.attention_scale);
  add_scale("logit_scale", s.logit_scale);
  add_scale("attention.temperature_scale", s.temperature_scale);
}

void add_metadata(gguf::Header& header, const ModelShape& s, const Family& family) {
  Keys keys(header, s.architecture);
  header.add("general.architecture", std::string(s.architecture));
  header.add("general.name", fmt::format("random {} {}", s.architecture, s.name));
  keys.add_count("context_length", s.trained_context);
  keys.add_count("embedding_length", s.dim);
  keys.add_count("block_count", s.n_layers);
  if (family.has_uneven_layers) {
    add_uneven_layers(keys, s);
  } else {
    keys.add_count("feed_forward_length", s.dense_ffn_dim > 0 ? s.dense_ffn_dim : s.ffn_dim);
  }
  keys.add_count("vocab_size", s.vocabulary_size);
  if (s.n_experts > 0) {
    keys.add_count("expert_count", s.n_experts);
    keys.add_count("expert_used_count", s.n_experts_used);
    keys.add_count("expert_feed_forward_length", s.ffn_dim);
    if (s.n_dense_layers > 0) {
      keys.add_count("leading_dense_block_count", s.n_dense_layers);
      keys.add_count("expert_gating_func", 2);  // sigmoids
    }
    if (s.shared_ffn_dim > 0) keys.add_count("expert_shared_feed_forward_length", s.shared_ffn_dim);
  }
  add_attention(keys, s, family);
  add_mixers(keys, s);
  add_rope(keys, s);
  add_made_vocabulary(header, s.vocabulary_size);
}

// ---- tensors

using Role = StorageType::Role;

// Collects the tensors. A matrix keeps the size of what it multiplies: deviation 1 / sqrt(cols).
class Planner {
 public:
  Planner(const ModelShape& shape, const Family& family, const StorageType& storage)
      : shape_(shape), family_(family), storage_(storage) {}

  std::vector<PlannedTensor> plan() {
    // Tied embeddings are a matrix of the output.
    const float deviation = shape_.is_tied ? 1 / std::sqrt(static_cast<float>(shape_.dim)) : 1.0f;
    matrix(Role::kEmbeddings, "token_embd.weight", {shape_.dim, shape_.vocabulary_size}, deviation);
    if (shape_.layer_input_dim > 0) layer_inputs();
    for (layer_ = 0; layer_ < shape_.n_layers; ++layer_) {
      block_ = fmt::format("blk.{}.", layer_);
      mixer();
      if (shape_.n_experts > 0 && layer_ >= shape_.n_dense_layers) {
        experts();
        if (shape_.shared_ffn_dim > 0) ffn("_shexp", shape_.shared_ffn_dim);
        if (family_.has_uneven_layers) dense_beside();
      } else {
        ffn("", dense_ffn_dim(shape_, layer_));
      }
      if (family_.has_post_norms) norm("post_ffw_norm", shape_.dim);
      if (shape_.layer_input_dim > 0) layer_input();
      if (family_.has_uneven_layers) vector("layer_output_scale.weight", {1}, 0.5f, 0.1f);
    }
    block_.clear();
    norm(family_.output_norm, shape_.dim);
    if (family_.has_uneven_layers) partial_rotation();
    if (shape_.has_long_rope) {
      const int n_pairs = (shape_.rope_dims > 0 ? shape_.rope_dims : shape_.head_dim) / 2;
      vector("rope_factors_long.weight", {n_pairs}, 4, 0.5f);
      vector("rope_factors_short.weight", {n_pairs}, 1, kNormDeviation);
    }
    if (!shape_.is_tied) linear(Role::kOutput, "output", shape_.dim, shape_.vocabulary_size, false);
    return std::move(tensors_);
  }

 private:
  void mixer() {
    const ModelShape& s = shape_;
    if (family_.has_pre_norms) norm("attn_norm", s.dim);
    if (is_attention(s, layer_)) {
      attention();
    } else if (s.short_conv_width > 0) {
      linear(Role::kMatrix, "shortconv.in_proj", s.dim, 3 * s.dim, false);
      vector("shortconv.conv.weight", {s.short_conv_width, s.dim}, 0, 0.5f);
      linear(Role::kMatrix, "shortconv.out_proj", s.dim, s.dim, false);
    } else {
      delta_net();
    }
    if (family_.has_post_norms) norm("post_attention_norm", s.dim);
    if (family_.has_pre_norms && !family_.ffn_norm.empty()) norm(family_.ffn_norm, s.dim);
  }

  void layer_inputs() {
    const ModelShape& s = shape_;
    const int width = s.n_layers * s.layer_input_dim;
    matrix(Role::kMatrix, "per_layer_token_embd.weight", {width, s.vocabulary_size},
           1 / std::sqrt(static_cast<float>(s.layer_input_dim)));
    linear(Role::kMatrix, "per_layer_model_proj", s.dim, width, false);
    norm("per_layer_proj_norm", s.layer_input_dim);
  }
  void layer_input() {
    linear(Role::kMatrix, "inp_gate", shape_.dim, shape_.layer_input_dim, false);
    linear(Role::kMatrix, "proj", shape_.layer_input_dim, shape_.dim, false);
    norm("post_norm", shape_.dim);
  }
  void dense_beside() {
    const ModelShape& s = shape_;
    ffn("", dense_ffn_dim(s, layer_));
    vector("ffn_gate_inp.scale", {s.dim}, 1, kNormDeviation);
    vector("ffn_down_exps.scale", {s.n_experts}, 1, kNormDeviation);
    norm("pre_ffw_norm_2", s.dim);
    norm("post_ffw_norm_1", s.dim);
    norm("post_ffw_norm_2", s.dim);
  }
  // Divisors of frequencies: a quarter of the pairs rotates.
  void partial_rotation() {
    const auto n_pairs = static_cast<std::size_t>(shape_.head_dim / 2);
    std::vector<float> divisors(n_pairs, 1e30f);
    std::fill_n(divisors.begin(), n_pairs / 4, 1.0f);
    tensors_.push_back(
        {"rope_freqs.weight", TensorType::kF32, {shape_.head_dim / 2}, 0, 0, std::move(divisors)});
  }

  void delta_net() {
    const int dim = shape_.dim;
    const DeltaNet& net = shape_.delta_net;
    linear(Role::kQkv, "attn_qkv", dim, net.conv_dim(), false);
    linear(Role::kMatrix, "attn_gate", dim, net.value_dim(), false);
    vector("ssm_conv1d.weight", {net.conv_width, net.conv_dim()}, 0, 0.5f);
    vector("ssm_dt.bias", {net.n_value_heads}, 0, 1);
    vector("ssm_a", {net.n_value_heads}, -1, 0.2f);
    if (shape_.architecture == "qwen3next") {
      linear(Role::kMatrix, "ssm_ba", dim, 2 * net.n_value_heads, false);
    } else {
      linear(Role::kMatrix, "ssm_beta", dim, net.n_value_heads, false);
      linear(Role::kMatrix, "ssm_alpha", dim, net.n_value_heads, false);
    }
    norm("ssm_norm", net.head_dim);
    linear(Role::kMatrix, "ssm_out", net.value_dim(), dim, false);
  }

  void attention() {
    const ModelShape& s = shape_;
    const int of_head = head_dim(s, layer_);
    const int q_dim = s.n_heads * of_head;
    const int kv_dim = n_kv_heads(s, layer_) * of_head;
    const bool has_keys = !is_shared(s, layer_);
    const bool has_values = has_keys && (!s.values_are_keys || is_local(s, layer_));
    const bool has_biases = family_.has_qkv_biases || s.has_biases;
    if (s.has_second_norm) norm("attn_norm_2", s.dim);
    if (family_.is_qkv_fused) {
      linear(Role::kQkv, "attn_qkv", s.dim, q_dim + 2 * kv_dim, has_biases);
    } else {
      linear(Role::kMatrix, "attn_q", s.dim, family_.has_output_gate ? 2 * q_dim : q_dim,
             has_biases);
      if (has_keys) linear(Role::kMatrix, "attn_k", s.dim, kv_dim, has_biases);
      if (has_values) linear(Role::kValue, "attn_v", s.dim, kv_dim, has_biases);
    }
    if (family_.has_head_norms) {
      // where scores are not scaled, the norm's weights do it
      const float mean = family_.has_uneven_layers ? 1 / std::sqrt(static_cast<float>(of_head)) : 1;
      norm("attn_q_norm", family_.normalizes_all_heads ? q_dim : of_head, mean);
      if (has_keys) norm("attn_k_norm", family_.normalizes_all_heads ? kv_dim : of_head);
    }
    linear(Role::kMatrix, "attn_output", q_dim, s.dim, family_.has_other_biases || s.has_biases);
    if (family_.has_learned_sinks) vector("attn_sinks.weight", {s.n_heads}, 0, 1);
  }

  void ffn(const std::string& suffix, int ffn_dim) {
    const int dim = shape_.dim;
    const bool has_biases = family_.has_other_biases;
    const bool is_fused = family_.is_gate_up_fused;
    if (family_.is_gated && !is_fused)
      linear(Role::kMatrix, "ffn_gate" + suffix, dim, ffn_dim, false);
    linear(Role::kMatrix, "ffn_up" + suffix, dim, is_fused ? 2 * ffn_dim : ffn_dim, has_biases);
    linear(Role::kFfnDown, "ffn_down" + suffix, ffn_dim, dim, has_biases);
  }

  void experts() {
    const ModelShape& s = shape_;
    const float deviation = 1 / std::sqrt(static_cast<float>(s.dim));
    vector("ffn_gate_inp.weight", {s.dim, s.n_experts}, 0, deviation);
    if (family_.has_other_biases) vector("ffn_gate_inp.bias", {s.n_experts}, 0, kBiasDeviation);
    if (s.n_dense_layers > 0) vector("exp_probs_b.bias", {s.n_experts}, 0, 0.2f);
    if (s.shared_ffn_dim > 0 && family_.has_output_gate)
      vector("ffn_gate_inp_shexp.weight", {s.dim}, 0, deviation);
    expert_matrices("ffn_gate_exps", s.dim, s.ffn_dim);
    expert_matrices("ffn_up_exps", s.dim, s.ffn_dim);
    expert_matrices("ffn_down_exps", s.ffn_dim, s.dim);
  }

  void expert_matrices(const std::string& name, int cols, int rows) {
    matrix(Role::kExperts, name + ".weight", {cols, rows, shape_.n_experts},
           1 / std::sqrt(static_cast<float>(cols)));
    if (family_.has_other_biases)
      vector(name + ".bias", {rows, shape_.n_experts}, 0, kBiasDeviation);
  }

  void linear(Role role, const std::string& name, int cols, int rows, bool has_bias) {
    matrix(role, name + ".weight", {cols, rows}, 1 / std::sqrt(static_cast<float>(cols)));
    if (has_bias) vector(name + ".bias", {rows}, 0, kBiasDeviation);
  }
  void norm(std::string_view name, int n, float mean = 1) {
    vector(fmt::format("{}.weight", name), {n}, mean, mean * kNormDeviation);
    if (family_.has_norm_biases) vector(fmt::format("{}.bias", name), {n}, 0, kBiasDeviation);
  }

  void matrix(Role role, const std::string& name, std::vector<std::int64_t> dims, float deviation) {
    const TensorType type = storage_.type_of(role, layer_, shape_, dims[0]);
    tensors_.push_back({block_ + name, type, std::move(dims), 0, deviation});
  }
  void vector(const std::string& name, std::vector<std::int64_t> dims, float mean,
              float deviation) {
    tensors_.push_back({block_ + name, TensorType::kF32, std::move(dims), mean, deviation});
  }

  static constexpr float kNormDeviation = 0.1f;
  static constexpr float kBiasDeviation = 0.1f;

  const ModelShape& shape_;
  const Family& family_;
  const StorageType& storage_;
  int layer_ = 0;
  std::string block_;  // prefix of names: "blk.7."
  std::vector<PlannedTensor> tensors_;
};

}  // namespace

std::int64_t PlannedTensor::n_elements() const {
  std::int64_t n = 1;
  for (const std::int64_t dim : shape) n *= dim;
  return n;
}

ModelPlan plan_model(const ModelShape& shape, const StorageType& type) {
  const Family& family = family_of(shape);
  ModelPlan plan;
  add_metadata(plan.header, shape, family);
  plan.tensors = Planner(shape, family, type).plan();
  for (const PlannedTensor& tensor : plan.tensors)
    plan.header.add_tensor(tensor.name, tensor.type, tensor.shape);
  return plan;
}

}  // namespace runnel
