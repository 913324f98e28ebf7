// The options of a stream and of sampling, with their defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runnel {

using Token = std::int32_t;

// What a token sees of the stream before it (StreamingLLM, arXiv 2309.17453, figure 1).
enum class Policy {
  kDense,      // everything; memory grows
  kWindow,     // the last W tokens; collapses once the first token is evicted
  kSink,       // the first S and the last W tokens, positions inside the cache
  kRecompute,  // as sink, but a fresh forward over the visible tokens for every token: the
               // yardstick, O(W^2)
};

// kQ4_0: 4 bits a number and a scale of 8 bits for 16 of them; sinks and pins stay in f16.
enum class KvType { kF32, kF16, kBF16, kQ8_0, kQ4_0 };

// Softmax over the visible keys. Off-by-one adds exp(0) to the denominator: a sink of zero key and
// value.
enum class Softmax { kStandard, kOffByOne };

struct SamplingOptions {
  float temperature = 0.8f;  // 0: greedy
  int top_k = 40;            // 0: off
  float top_p = 0.95f;       // 1: off
  float min_p = 0.05f;       // 0: off
  // Penalties over the tokens the stream still sees (sinks and window).
  float repetition_penalty = 1.0f;  // 1: off
  float frequency_penalty = 0.0f;   // 0: off
  float presence_penalty = 0.0f;    // 0: off
  std::uint64_t seed = 0;  // the same seed gives the same text, whatever the number of threads
};

struct StreamOptions {
  Policy policy = Policy::kSink;
  int sinks = 4;  // S, kept for ever; at least the pinned text's tokens
  std::optional<std::int64_t>
      window;  // W; default: no position in the cache exceeds the trained context, at most 2043
  // W by layer: these, again and again, over the layers that keep keys and values; empty: `window`
  // for all. Once resolved, one for each of those layers, and `window` is the largest. With the
  // policies sink and window.
  std::vector<std::int64_t> layer_windows;
  KvType kv_type = KvType::kF16;
  // Queries, keys and values are rotated by a Hadamard matrix before they are stored, which spreads
  // what a few dimensions hold over all of them; sinks and pins stay in f16. Of kQ8_0 and kQ4_0;
  // default: of kQ4_0 alone.
  std::optional<bool> kv_rotate;
  std::optional<Softmax> softmax;  // default: what the file says it was trained with, else standard
  int chunk = 256;                 // tokens that pass the model together at most
  std::string pin;  // text at the stream's start that becomes the sinks, whole, never evicted
  std::vector<Token> pin_tokens;  // the same, already tokens (with BOS, if wanted); not both
  // Tokens guessed ahead from the stream's own recent text and checked in one pass; 0: off. The
  // output is the same, token for token; repetitive text comes faster, text without repetition
  // hardly slower.
  int draft = 0;
  SamplingOptions sampling;
  std::int64_t start_position = 0;  // position of the first token; for tests of precision
};

// Windows as they are written: "2048,256x5" is 2048 and then five times 256. A list of W or WxN
// between commas, W from 1 to 16777216, N from 1 to 1024, at most 4096 windows. Error: anything
// else.
std::vector<std::int64_t> parse_layer_windows(std::string_view text);

}  // namespace runnel
