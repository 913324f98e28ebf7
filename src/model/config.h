// What distinguishes one decoder from another: sizes, and the few choices an architecture makes. An
// architecture is a function that fills a Config from a file's metadata (src/model/arch); the
// decoder knows only the Config and which weights are present.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/terms.h"
#include "model/rope.h"

namespace runnel {

struct Config {
  std::string architecture;  // "llama"
  int dim = 0;               // of the residual stream
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int ffn_dim = 0;  // of one expert, where there are experts
  int vocabulary_size = 0;
  int trained_context = 0;  // tokens

  Norm norm = Norm::kRms;
  float norm_epsilon = 1e-5f;
  Activation activation = Activation::kSilu;
  bool is_gated = true;      // ffn: down(act(gate x) * up x), or down(act(up x))
  bool is_parallel = false;  // x + attention(norm x) + ffn(norm x) instead of one after the other
  float embedding_scale = 1;
  float attention_scale = 0;    // of scores; 0: 1 / sqrt(head_dim)
  float attention_softcap = 0;  // 0: none
  float final_softcap = 0;      // of logits; 0: none
  float qkv_clamp = 0;          // q, k and v are clamped to [-qkv_clamp, qkv_clamp]; 0: not
  float max_alibi_bias = 0;     // 0: no ALiBi
  // Where the file's tensor names differ from the standard ones. Falcon: with a second norm, the
  // first is the ffn's; gpt-oss: the norm named after attention is the ffn's.
  const char* attention_norm_name = "attn_norm";
  const char* ffn_norm_name = "ffn_norm";
  int n_experts = 0;  // 0: a dense ffn
  int n_experts_used = 0;

  Rope rope;
  Rope local_rope;  // of layers with local attention; as `rope` unless the model says otherwise
  std::vector<int> local_windows;  // by layer: tokens a layer sees, itself included; 0: all. Empty:
                                   // all layers see all

  int local_window(int layer) const {
    return local_windows.empty() ? 0 : local_windows[static_cast<std::size_t>(layer)];
  }
  int q_dim() const { return n_heads * head_dim; }
  int kv_dim() const { return n_kv_heads * head_dim; }
  int group() const { return n_heads / n_kv_heads; }  // query heads that share a KV head
};

}  // namespace runnel
