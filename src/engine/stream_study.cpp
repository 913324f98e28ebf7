// Looking into a stream: what comes next, and where its last tokens looked.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/stream_state.h"
#include "model/observation.h"

namespace runnel {
namespace {

std::size_t n_of(std::int64_t n) { return static_cast<std::size_t>(n); }

// Takes back a cache's last tokens, and puts it back where it was when their step did not.
class Rewound {
 public:
  Rewound(KvCache& cache, int n) : cache_(cache), end_(cache.position()) { cache_.rewind(n); }
  Rewound(const Rewound&) = delete;
  Rewound& operator=(const Rewound&) = delete;
  ~Rewound() { cache_.advance(static_cast<int>(end_ - cache_.position())); }

 private:
  KvCache& cache_;
  std::int64_t end_;
};

// Where the keys of positions inside the cache stand in a row: the sinks, then those from `first`
// on.
struct Columns {
  std::int64_t n_sinks = 0;
  std::int64_t first = 0;
  std::int64_t end = 0;

  std::int64_t count() const { return n_sinks + end - first; }
  // -1 for a position that has none.
  std::int64_t of(std::int64_t key) const {
    if (key < n_sinks) return key;
    return key >= first && key < end ? n_sinks + key - first : -1;
  }
};

void take_row(const AttentionWeights& weights, const Columns& columns, float* row) {
  const auto take = [&](std::int64_t key, float weight) {
    if (const std::int64_t at = columns.of(key); at >= 0) row[at] += weight;
  };
  for (std::size_t i = 0; i < weights.sinks.size(); ++i)
    take(static_cast<std::int64_t>(i), weights.sinks[i]);
  for (std::size_t i = 0; i < weights.window.size(); ++i)
    take(weights.first_position + static_cast<std::int64_t>(i), weights.window[i]);
}

}  // namespace

std::vector<std::pair<Token, float>> Stream::top_logprobs(int n) const {
  const std::span<const float> logits = state_->next_logits();
  std::vector<Token> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto middle = tokens.begin() + std::clamp<std::ptrdiff_t>(n, 0, std::ssize(tokens));
  std::partial_sort(tokens.begin(), middle, tokens.end(), [&](Token a, Token b) {
    const float left = logits[n_of(a)];
    const float right = logits[n_of(b)];
    return left != right ? left > right : a < b;
  });
  std::vector<std::pair<Token, float>> top;
  for (auto token = tokens.begin(); token != middle; ++token)
    top.emplace_back(*token, -state_->nll(logits, *token));
  return top;
}

namespace {

// Of the last tokens of a stream: how many can still pass the model as they did.
std::int64_t most_queries(const StreamOptions& options, const KvCache& cache, std::int64_t position,
                          std::int64_t n_guesses) {
  const bool is_refilled = cache.position() != position;  // by kRecompute, for the last token alone
  if (is_refilled) return 1;
  const CachePolicy policy = cache_policy(options);
  const std::int64_t n_known = policy.evicted(position) > 0 ? policy.window : position;
  return std::min({n_known, options.chunk - n_guesses, cache.most_rewound() - n_guesses});
}

Columns columns_of(const KvCache& cache, int n_queries) {
  const CachePolicy& policy = cache.policy();
  const std::int64_t end = cache.position();
  const std::int64_t n_sinks = std::min<std::int64_t>(policy.sinks, end);
  return {n_sinks, std::max(n_sinks, policy.horizon(end - n_queries)), end};
}

}  // namespace

Stream::Attention Stream::attention(int n_last) const {
  constexpr std::size_t kMostBytes = std::size_t{1} << 30;
  State& s = *state_;
  const std::lock_guard lock(s.model.mutex);
  if (s.cache.has_state()) {
    throw Error(
        fmt::format("attention: architecture {} keeps a state, so its last tokens cannot "
                    "pass the model once more",
                    s.model.config.architecture));
  }
  const std::int64_t end = s.history.position();
  const std::int64_t most = most_queries(s.options, s.cache, end, std::ssize(s.ahead));
  if (end == 0) throw Error("attention: want a stream that has read something, found a fresh one");
  if (n_last < 1 || n_last > most)
    throw Error(fmt::format("attention: want 1 to {} of the last tokens, found {}", most, n_last));
  const Columns columns = columns_of(s.cache, n_last);
  Attention found = {.layers = s.model.config.n_layers, .heads = s.model.config.n_heads};
  const std::size_t n_keys = n_of(columns.count());
  const std::size_t n_weights = n_of(n_last) * n_of(found.layers) * n_of(found.heads) * n_keys;
  if (n_weights > kMostBytes / sizeof(float)) {
    throw Error(
        fmt::format("attention: want at most {} bytes of weights, found {}: ask for fewer tokens",
                    kMostBytes, n_weights * sizeof(float)));
  }
  for (std::int64_t query = end - n_last; query < end; ++query)
    found.queries.push_back(s.options.start_position + query);
  const std::int64_t n_kept = cache_policy(s.options).sinks;
  const std::int64_t n_left_out = end - s.cache.position();  // between sinks and window
  for (std::int64_t i = 0; i < columns.count(); ++i) {
    const std::int64_t key = i < columns.n_sinks ? i : columns.first + i - columns.n_sinks;
    found.positions.push_back(s.options.start_position + key + (key < n_kept ? 0 : n_left_out));
  }
  found.weights.assign(n_weights, 0.0f);
  s.history.visible(s.visible);
  const Rewound rewound(s.cache, n_last);
  Decoder& decoder = s.decoder();
  const Observation observation(decoder, [&](const AttentionWeights& weights) {
    const std::size_t head =
        (weights.token * n_of(found.layers) + n_of(weights.layer)) * n_of(found.heads) +
        n_of(weights.head);
    take_row(weights, columns, found.weights.data() + head * n_keys);
  });
  const Segment segment = {&s.cache, std::span<const Token>(s.visible).last(n_of(n_last)),
                           *s.options.softmax, Segment::Logits::kNone};
  decoder.step({&segment, 1}, [](std::size_t, std::size_t, std::span<const float>) {});
  return found;
}

}  // namespace runnel
