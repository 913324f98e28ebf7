// What distinguishes one decoder from another: sizes, and the few choices an architecture makes. An
// architecture is a function that fills a Config from a file's metadata (src/model/arch); the
// decoder knows only the Config and which weights are present.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "device/terms.h"
#include "model/rope.h"
#include "runnel/options.h"

namespace runnel {

// Of one layer's attention.
struct Heads {
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;

  int q_dim() const { return n_heads * head_dim; }
  int kv_dim() const { return n_kv_heads * head_dim; }
};

struct Config {
  std::string architecture;  // "llama"
  int dim = 0;               // of the residual stream
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;         // the most of a layer
  int head_dim = 0;           // the largest
  int local_head_dim = 0;     // of layers with local attention; 0: as head_dim
  std::vector<int> kv_heads;  // by layer, or empty: all layers have n_kv_heads
  int ffn_dim = 0;            // of one expert, where there are experts
  int vocabulary_size = 0;
  int trained_context = 0;  // tokens

  Norm norm = Norm::kRms;
  float norm_epsilon = 1e-5f;
  Activation activation = Activation::kSilu;
  bool is_gated = true;      // ffn: down(act(gate x) * up x), or down(act(up x))
  bool is_parallel = false;  // x + attention(norm x) + ffn(norm x) instead of one after the other
  float embedding_scale = 1;
  float residual_scale = 1;              // of what attention and ffn add to the residual stream
  float logit_scale = 1;                 // of logits; the last norm's weights take it
  float attention_scale = 0;             // of scores; 0: 1 / sqrt of the size of a head
  float attention_softcap = 0;           // 0: none
  Softmax softmax = Softmax::kStandard;  // as trained; a stream may choose another
  float final_softcap = 0;               // of logits; 0: none
  float qkv_clamp = 0;       // q, k and v are clamped to [-qkv_clamp, qkv_clamp]; 0: not
  float max_alibi_bias = 0;  // 0: no ALiBi
  // Queries grow with their place c inside the cache, by 1 + scale * ln(1 + floor(c / length)).
  float temperature_scale = 0;
  int temperature_length = 0;
  bool has_pre_norms = true;          // false: attention and ffn take the residual stream as it is
  bool normalizes_all_heads = false;  // norms of q and k are over all heads together, not over each
  bool normalizes_rotated = false;    // and are taken after the rotation, not before (Hunyuan)
  bool normalizes_values = false;     // each head of v too, without weights
  bool is_gate_up_fused = false;      // the tensor ffn_up holds the rows of the gate, then its own
  // Where the file's tensor names differ from the standard ones. Falcon: with a second norm, the
  // first is the ffn's; gpt-oss: the norm named after attention is the ffn's.
  const char* attention_norm_name = "attn_norm";
  const char* ffn_norm_name = "ffn_norm";
  const char* output_norm_name = "output_norm";
  int n_experts = 0;  // 0: a dense ffn
  int n_experts_used = 0;
  bool has_shared_gate = false;     // which takes a share that the token decides
  int n_dense_layers = 0;           // the first ones have no experts, but an ffn of
  int dense_ffn_dim = 0;            // this size
  std::vector<int> dense_ffn_dims;  // by layer, or empty: as above
  // Every layer has a dense ffn too, whose result joins that of the experts; each of the two has
  // norms of its own, before and after (Gemma 4).
  bool has_dense_beside = false;
  bool has_sigmoid_router = false;  // shares are the chosen experts' sigmoids, else their softmax
  int n_skipped_layers =
      0;  // behind the last one, in the file but not run: they guess further tokens
  int shared_ffn_dim = 0;   // of the expert that every token takes; 0: none
  int layer_input_dim = 0;  // of what a token has for each layer beside its embedding; 0: nothing
  int n_shared_layers = 0;  // the last ones attend to keys and values of layers before them

  Rope rope;
  Rope local_rope;  // of layers with local attention; as `rope` unless the model says otherwise
  // LongRoPE (arXiv 2402.13753) has other frequencies where more than `short_context` places of the
  // cache may be taken; 0: not used.
  Rope long_rope;
  std::int64_t short_context = 0;
  std::vector<bool> unrotated;     // by layer: no positions there (NoPE). Empty: none
  std::vector<int> local_windows;  // by layer: tokens a layer sees, itself included; 0: all. Empty:
                                   // all layers see all

  int local_window(int layer) const {
    return local_windows.empty() ? 0 : local_windows[static_cast<std::size_t>(layer)];
  }
  // Attention's output is gated: the tensor attn_q holds for each head the query's rows and then
  // the gate's.
  bool has_output_gate = false;
  std::vector<Mixer> mixers;  // by layer; empty: all are attention
  DeltaNet delta_net;
  int short_conv_width = 0;  // tokens that a short convolution sees, the present included

  bool has_experts(int layer) const { return n_experts > 0 && layer >= n_dense_layers; }
  Mixer mixer(int layer) const {
    return mixers.empty() ? Mixer::kAttention : mixers[static_cast<std::size_t>(layer)];
  }
  bool has_state() const { return !mixers.empty(); }
  // Floats that a stream keeps for a layer beside keys and values.
  int state_size(int layer) const {
    if (mixer(layer) == Mixer::kDeltaNet) return delta_net.n_state();
    return mixer(layer) == Mixer::kShortConv ? dim * (short_conv_width - 1) : 0;
  }
  bool is_rotated(int layer) const {
    return rope.style != RopeStyle::kNone &&
           (unrotated.empty() || !unrotated[static_cast<std::size_t>(layer)]);
  }
  // The most tokens that a layer was trained to see, the present one included.
  int trained_sight() const {
    const auto widest = std::max_element(local_windows.begin(), local_windows.end());
    const bool is_local =
        !local_windows.empty() &&
        std::find(local_windows.begin(), local_windows.end(), 0) == local_windows.end();
    return is_local ? std::min(*widest, trained_context) : trained_context;
  }
  Heads heads(int layer) const {
    const bool is_small = local_head_dim > 0 && local_window(layer) > 0;
    return {n_heads, kv_heads.empty() ? n_kv_heads : kv_heads[static_cast<std::size_t>(layer)],
            is_small ? local_head_dim : head_dim};
  }
  bool has_keys(int layer) const {
    return mixer(layer) == Mixer::kAttention && layer < n_layers - n_shared_layers;
  }
  // Whose keys and values a layer attends to: its own, or those of the last layer that has some and
  // is local or not as this one is.
  int key_layer(int layer) const {
    if (n_shared_layers == 0) return layer;
    const bool is_local = local_window(layer) > 0;
    while (!has_keys(layer) || (local_window(layer) > 0) != is_local) --layer;
    return layer;
  }
  int dense_dim(int layer) const {  // of the ffn beside or instead of experts
    if (!dense_ffn_dims.empty()) return dense_ffn_dims[static_cast<std::size_t>(layer)];
    return n_experts > 0 ? dense_ffn_dim : ffn_dim;
  }
  int q_dim() const { return n_heads * head_dim; }      // the largest of a layer
  int kv_dim() const { return n_kv_heads * head_dim; }  // no layer has more
};

}  // namespace runnel
