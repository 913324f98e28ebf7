// The names of tensors in transformers' models and in GGUF files.
#include <fmt/format.h>

#include "hf/config.h"

namespace runnel::hf {
namespace {

// Collects rules; a layer's names hold {} where its number stands.
class Rules {
 public:
  explicit Rules(int n_layers) : n_layers_(n_layers) {}

  void one(const std::string& from, const std::string& to, Change change = Change::kNone,
           bool is_optional = false) {
    rules_.push_back({from, to, change, is_optional});
  }
  // The weight, and the bias where there is one.
  void both(const std::string& from, const std::string& to, Change change = Change::kNone) {
    one(from + ".weight", to + ".weight", change);
    one(from + ".bias", to + ".bias", change, true);
  }
  void layers(const std::string& from, const std::string& to, Change change = Change::kNone,
              bool is_optional = false) {
    for (int layer = 0; layer < n_layers_; ++layer) {
      const auto name = [&](const std::string& pattern) {
        return fmt::format(fmt::runtime(pattern), layer);
      };
      for (const char* part : {".weight", ".bias"}) {
        const bool is_bias = part[1] == 'b';
        one(name(from) + part, fmt::format("blk.{}.{}{}", layer, to, part), change,
            is_bias || is_optional);
      }
    }
  }
  std::vector<TensorRule> take() { return std::move(rules_); }

 private:
  int n_layers_;
  std::vector<TensorRule> rules_;
};

void add_llama_like(Rules& rules, const std::string& architecture) {
  const bool has_post_norms = architecture == "gemma2" || architecture == "gemma3";
  const Change norm = architecture.starts_with("gemma") ? Change::kAddOne : Change::kNone;
  const Change rotated = architecture == "llama" ? Change::kPairs : Change::kNone;
  rules.both("model.embed_tokens", "token_embd");
  rules.both("model.norm", "output_norm");
  rules.layers("model.layers.{}.input_layernorm", "attn_norm", norm);
  rules.layers("model.layers.{}.self_attn.q_proj", "attn_q", rotated);
  rules.layers("model.layers.{}.self_attn.k_proj", "attn_k", rotated);
  rules.layers("model.layers.{}.self_attn.v_proj", "attn_v");
  rules.layers("model.layers.{}.self_attn.o_proj", "attn_output");
  rules.layers("model.layers.{}.self_attn.q_norm", "attn_q_norm", norm, true);
  rules.layers("model.layers.{}.self_attn.k_norm", "attn_k_norm", norm, true);
  rules.layers("model.layers.{}.mlp.gate_proj", "ffn_gate");
  rules.layers("model.layers.{}.mlp.up_proj", "ffn_up");
  rules.layers("model.layers.{}.mlp.down_proj", "ffn_down");
  if (has_post_norms) {
    rules.layers("model.layers.{}.post_attention_layernorm", "post_attention_norm", norm);
    rules.layers("model.layers.{}.pre_feedforward_layernorm", "ffn_norm", norm);
    rules.layers("model.layers.{}.post_feedforward_layernorm", "post_ffw_norm", norm);
  } else {
    rules.layers("model.layers.{}.post_attention_layernorm", "ffn_norm", norm);
  }
}

void add_gptneox(Rules& rules) {
  rules.both("gpt_neox.embed_in", "token_embd");
  rules.both("gpt_neox.final_layer_norm", "output_norm");
  rules.layers("gpt_neox.layers.{}.input_layernorm", "attn_norm");
  rules.layers("gpt_neox.layers.{}.post_attention_layernorm", "ffn_norm");
  rules.layers("gpt_neox.layers.{}.attention.query_key_value", "attn_qkv", Change::kThreeOfHeads);
  rules.layers("gpt_neox.layers.{}.attention.dense", "attn_output");
  rules.layers("gpt_neox.layers.{}.mlp.dense_h_to_4h", "ffn_up");
  rules.layers("gpt_neox.layers.{}.mlp.dense_4h_to_h", "ffn_down");
}

void add_falcon(Rules& rules) {
  rules.both("transformer.word_embeddings", "token_embd");
  rules.both("transformer.ln_f", "output_norm");
  // One norm for both parts of a layer, or one for each.
  rules.layers("transformer.h.{}.input_layernorm", "attn_norm", Change::kNone, true);
  rules.layers("transformer.h.{}.ln_mlp", "attn_norm", Change::kNone, true);
  rules.layers("transformer.h.{}.ln_attn", "attn_norm_2", Change::kNone, true);
  rules.layers("transformer.h.{}.self_attention.query_key_value", "attn_qkv", Change::kGroups);
  rules.layers("transformer.h.{}.self_attention.dense", "attn_output");
  rules.layers("transformer.h.{}.mlp.dense_h_to_4h", "ffn_up");
  rules.layers("transformer.h.{}.mlp.dense_4h_to_h", "ffn_down");
}

void add_mpt(Rules& rules) {
  rules.both("transformer.wte", "token_embd");
  rules.both("transformer.norm_f", "output_norm");
  rules.layers("transformer.blocks.{}.norm_1", "attn_norm");
  rules.layers("transformer.blocks.{}.norm_2", "ffn_norm");
  rules.layers("transformer.blocks.{}.attn.Wqkv", "attn_qkv");
  rules.layers("transformer.blocks.{}.attn.out_proj", "attn_output");
  rules.layers("transformer.blocks.{}.ffn.up_proj", "ffn_up");
  rules.layers("transformer.blocks.{}.ffn.down_proj", "ffn_down");
}

}  // namespace

std::vector<TensorRule> tensor_rules(const ModelConfig& config) {
  Rules rules(config.n_layers);
  if (config.architecture == "gptneox") {
    add_gptneox(rules);
  } else if (config.architecture == "falcon") {
    add_falcon(rules);
  } else if (config.architecture == "mpt") {
    add_mpt(rules);
  } else {
    add_llama_like(rules, config.architecture);
  }
  std::vector<TensorRule> found = rules.take();
  for (TensorRule& rule : found) {
    const bool is_gemma = config.architecture.starts_with("gemma");
    if (is_gemma && rule.to == "output_norm.weight") rule.change = Change::kAddOne;
  }
  if (!config.is_tied) {
    const char* output = config.architecture == "gptneox" ? "embed_out.weight" : "lm_head.weight";
    found.push_back({output, "output.weight", Change::kNone, config.architecture == "mpt"});
  }
  return found;
}

}  // namespace runnel::hf
