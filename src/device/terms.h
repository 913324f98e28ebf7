// The choices of a model that its operations have to know.
#pragma once

namespace runnel {

enum class Norm { kRms, kLayer };
enum class Activation { kSilu, kGelu, kSwigluOai };

enum class RopeStyle {
  kNone,
  kInterleaved,  // pairs (2i, 2i + 1): Llama's GGUF files
  kHalves,       // pairs (i, i + dims / 2): GPT-NeoX and most others
};

// A layer's way of looking back.
enum class Mixer {
  kAttention,
  kDeltaNet,   // a gated delta rule (arXiv 2412.06464): a state of constant size, no positions
  kShortConv,  // a gated convolution over the last few tokens
};

// Sizes of a gated delta net. Queries and keys are n_key_heads of head_dim, values n_value_heads of
// head_dim.
struct DeltaNet {
  int n_key_heads = 0;
  int n_value_heads = 0;
  int head_dim = 0;
  int conv_width = 0;     // tokens that the convolution over q, k and v sees, the present included
  bool is_tiled = false;  // value head h has key head h mod n_key_heads, else the h / group-th

  int key_dim() const { return n_key_heads * head_dim; }
  int value_dim() const { return n_value_heads * head_dim; }
  int conv_dim() const { return 2 * key_dim() + value_dim(); }
  int group() const { return n_value_heads / n_key_heads; }
  int key_head(int value_head) const {
    return is_tiled ? value_head % n_key_heads : value_head / group();
  }
  // Of a stream: the convolution's last inputs [conv_dim, conv_width - 1], and for each value head
  // a map from keys to values [head_dim, head_dim].
  int n_conv_state() const { return conv_dim() * (conv_width - 1); }
  int n_state() const { return n_conv_state() + value_dim() * head_dim; }
};

}  // namespace runnel
