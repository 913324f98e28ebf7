// What a token sees: the whole of StreamingLLM's cache policy as integer functions.
//
// Trained softmax attention puts the weight it has no use for on the first tokens of a text,
// because every later token can see them: the attention sinks. Evict them and the denominator of
// every softmax changes, so plain window attention collapses. Keep the keys and values of the first
// S tokens (the sinks) beside those of the last W, count positions inside the cache, and the model
// goes on for ever (Xiao et al., arXiv 2309.17453, sections 3.1 and 3.2).
//
//   visible(key, query):  key <= query  and  (key < S  or  query - key <= W)
//
// Token p is at position c = min(p, S + W) inside the cache: the number of entries it sees besides
// itself. Its distance to a window entry j is the true one, p - j; to sink i it is c - i. Scores of
// rotary and linear-bias attention depend on distances only, so a key is stored once, rotated at
// its true position, and the query is rotated twice: at p for the window and at c for the sinks.
// Eviction is then the move of one index, and nothing stored drifts.
#pragma once

#include <algorithm>
#include <cstdint>

namespace runnel {

inline constexpr std::int64_t kUnbounded = std::int64_t{1} << 62;

// S and W of a stream.
struct CachePolicy {
  int sinks = 4;
  std::int64_t window = kUnbounded;

  // Entries that token `position` sees besides itself, and so its own position inside the cache.
  std::int64_t cache_position(std::int64_t position) const {
    return window >= kUnbounded - sinks ? position : std::min(position, sinks + window);
  }
  // The oldest position, sinks aside, that token `position` sees: everything in [sinks, horizon) is
  // evicted.
  std::int64_t horizon(std::int64_t position) const {
    return std::max<std::int64_t>(position - window, 0);
  }
  // Tokens that have left the cache when token `position` is the next.
  std::int64_t evicted(std::int64_t position) const { return position - cache_position(position); }
};

// What one layer sees. A model's own local attention (its `local` last tokens, itself included)
// shortens the window; where the layer reaches less far than the window, sinks are out of its sight
// once they have left it and need no place.
struct LayerSight {
  CachePolicy stream;                    // gives the position inside the cache
  int sinks = 0;                         // kept for ever by this layer
  std::int64_t window = kUnbounded;      // earlier tokens seen, by true distance
  std::int64_t sink_reach = kUnbounded;  // a sink is seen up to this distance inside the cache

  static LayerSight of(const CachePolicy& policy, std::int64_t local) {
    if (local > 0 && local - 1 <= policy.window) return {policy, 0, local - 1, 0};
    return {policy, policy.sinks, policy.window, local > 0 ? local - 1 : kUnbounded};
  }

  bool sees(std::int64_t key, std::int64_t query) const {
    if (key > query) return false;
    if (key < sinks) return stream.cache_position(query) - key <= sink_reach;
    return query - key <= window;
  }
  // The oldest position that this layer's ring must still hold for token `position`.
  std::int64_t oldest(std::int64_t position) const {
    return std::max<std::int64_t>(position - window, sinks);
  }
};

}  // namespace runnel
