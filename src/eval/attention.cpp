#include "eval/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/internals.h"
#include "model/observation.h"

namespace runnel::eval {
namespace {

constexpr double kUnit = static_cast<double>(std::int64_t{1} << 40);

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::int64_t in_units(float weight) { return std::llround(static_cast<double>(weight) * kUnit); }

}  // namespace

AttentionStudy::AttentionStudy(const Model& model, const AttentionOptions& options)
    : model_(model),
      options_(options),
      n_layers_(model.layers()),
      n_heads_(model.internals().config.n_heads) {
  if (options_.first_query < 0) options_.first_query = options_.length / 2;
  options_.stream = model.resolve(options_.stream);
  if (options_.length < 2 || options_.first_query >= options_.length || options_.first_tokens < 1) {
    throw Error(fmt::format(
        "attention: want texts of two tokens or more and a first token, found length {}, "
        "first query {}, first tokens {}",
        options_.length, options_.first_query, options_.first_tokens));
  }
  const std::size_t n_head_maps = options_.keeps_heads ? size(n_layers_) * size(n_heads_) : 0;
  const std::size_t n_bytes = (size(n_layers_) + n_head_maps) * cells() * sizeof(Sum);
  if (n_bytes > options_.most_bytes) {
    throw Error(fmt::format(
        "attention: maps of {} tokens for {} layers{}: want at most {} bytes, found {}: "
        "take shorter texts",
        options_.length, n_layers_, n_head_maps > 0 ? " and all heads" : "", options_.most_bytes,
        n_bytes));
  }
  layer_maps_.assign(size(n_layers_), std::vector<Sum>(cells()));
  head_maps_.assign(n_head_maps, std::vector<Sum>(cells()));
  first_.assign(size(n_layers_) * size(n_heads_), std::vector<Sum>(size(options_.first_tokens)));
  rows_.assign(first_.size(), 0);
  layer_mutexes_ = std::make_unique<std::mutex[]>(size(n_layers_));
}

std::size_t AttentionStudy::cells() const { return size(options_.length) * size(options_.length); }

std::size_t AttentionStudy::head_at(int layer, int head) const {
  return size(layer) * size(n_heads_) + size(head);
}

void AttentionStudy::add(std::span<const Token> text) {
  if (static_cast<int>(text.size()) != options_.length) {
    throw Error(fmt::format("attention: want texts of {} tokens, found one of {}", options_.length,
                            text.size()));
  }
  const Model::Internals& internals = model_.internals();
  const StreamOptions& stream = options_.stream;
  KvCache cache = take_cache(internals, cache_shape(internals, stream));
  const std::lock_guard lock(internals.mutex);
  Decoder& decoder = internals.decoder_for(stream.chunk);
  const Observation observation(decoder, [&](const AttentionWeights& weights) {
    observe(weights, cache.position() + static_cast<std::int64_t>(weights.token));
  });
  while (!text.empty()) {
    const auto chunk = text.first(std::min(text.size(), size(stream.chunk)));
    const Segment segment = {&cache, chunk, *stream.softmax, Segment::Logits::kNone};
    decoder.step({&segment, 1}, [](std::size_t, std::size_t, std::span<const float>) {});
    text = text.subspan(chunk.size());
  }
  ++n_texts_;
}

// One row of one head; rows of a head come one after the other, heads of a layer side by side.
void AttentionStudy::observe(const AttentionWeights& weights, std::int64_t position) {
  const std::size_t at = head_at(weights.layer, weights.head);
  const std::size_t row = size(position) * size(options_.length);
  std::vector<Sum>* head_map = head_maps_.empty() ? nullptr : &head_maps_[at];
  std::vector<Sum>& layer_map = layer_maps_[size(weights.layer)];
  const bool counts = position >= options_.first_query;
  const std::lock_guard lock(layer_mutexes_[size(weights.layer)]);
  const auto take = [&](std::int64_t key, float weight) {
    if (key > position || weight == 0) return;
    const Sum sum = in_units(weight);
    layer_map[row + size(key)] += sum;
    if (head_map != nullptr) (*head_map)[row + size(key)] += sum;
    if (!counts) return;
    rows_[at] += sum;
    if (key < options_.first_tokens) first_[at][size(key)] += sum;
  };
  for (std::size_t i = 0; i < weights.sinks.size(); ++i)
    take(static_cast<std::int64_t>(i), weights.sinks[i]);
  for (std::size_t i = 0; i < weights.window.size(); ++i)
    take(weights.first_position + static_cast<std::int64_t>(i), weights.window[i]);
}

namespace {

std::vector<float> averaged(const std::vector<std::int64_t>& sums, double n) {
  std::vector<float> means;
  means.reserve(sums.size());
  for (const std::int64_t sum : sums)
    means.push_back(static_cast<float>(static_cast<double>(sum) / kUnit / n));
  return means;
}

}  // namespace

std::vector<float> AttentionStudy::layer_map(int layer) const {
  return averaged(layer_maps_[size(layer)], static_cast<double>(n_texts_) * n_heads_);
}

std::vector<float> AttentionStudy::head_map(int layer, int head) const {
  return averaged(head_maps_.at(head_at(layer, head)), n_texts_);
}

double AttentionStudy::share(int layer, int head, int k) const {
  const std::vector<Sum>& first = first_[head_at(layer, head)];
  double sum = 0;
  for (int i = 0; i < k; ++i) sum += static_cast<double>(first[size(i)]);
  const double n_rows = static_cast<double>(options_.length - options_.first_query) * n_texts_;
  return sum / kUnit / n_rows;
}

double AttentionStudy::row_sum(int layer, int head) const {
  const double n_rows = static_cast<double>(options_.length - options_.first_query) * n_texts_;
  return static_cast<double>(rows_[head_at(layer, head)]) / kUnit / n_rows;
}

double AttentionStudy::even_share(int k) const {
  const CachePolicy policy = cache_policy(options_.stream);
  const LayerSight sight = LayerSight::of(policy, 0);
  double sum = 0;
  for (int query = options_.first_query; query < options_.length; ++query) {
    int n_first = 0;
    for (int key = 0; key < k; ++key) n_first += sight.sees(key, query) ? 1 : 0;
    sum += n_first / static_cast<double>(policy.cache_position(query) + 1);
  }
  return sum / (options_.length - options_.first_query);
}

std::vector<std::vector<Token>> sentence_windows(const Model& model, std::string_view text, int n,
                                                 int length) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i + 2 < text.size(); ++i) {
    const bool ends_sentence = text[i] == '.' || text[i] == '?' || text[i] == '!';
    const bool is_capital = text[i + 2] >= 'A' && text[i + 2] <= 'Z';
    const bool is_space = text[i + 1] == ' ' || text[i + 1] == '\n';
    if (ends_sentence && is_space && is_capital) starts.push_back(i + 2);
  }
  std::vector<std::vector<Token>> windows;
  const std::size_t n_bytes = size(length) * 16;  // more than so many tokens of any language
  for (int i = 0; i < n && !starts.empty(); ++i) {
    const std::size_t at = starts[starts.size() * size(i) / size(n)];
    std::vector<Token> tokens = model.tokenize(text.substr(at, n_bytes));
    if (tokens.size() < size(length)) break;
    tokens.resize(size(length));
    const bool is_new = windows.empty() || windows.back() != tokens;
    if (is_new) windows.push_back(std::move(tokens));
  }
  return windows;
}

}  // namespace runnel::eval
