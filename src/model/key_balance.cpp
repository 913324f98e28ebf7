#include "model/key_balance.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/pack/dequantize.h"
#include "model/cache_layers.h"
#include "stream/key_pairs.h"

namespace runnel {
namespace {

constexpr float kLargestFactor = 64;

float square(float x) { return x * x; }

// Of some heads' dimensions the expected squares: [n_heads, head_dim].
struct Source {
  const Linear& linear;      // of n_heads heads, with other rows between them or none
  const NormWeights& norm;   // over each head or all, or absent
  const NormWeights& input;  // what the linear's inputs were normalised by, or absent
  bool with_bias;            // a mean that the keys lose is no part of them
};

std::vector<float> squares_of(const Source& source, int n_heads, int head_dim) {
  std::vector<float> squares(static_cast<std::size_t>(n_heads) *
                             static_cast<std::size_t>(head_dim));
  const std::vector<float>& norm = source.norm.weight;
  const kernels::Matrix& w = source.linear.weight;
  std::vector<float> row(static_cast<std::size_t>(w.cols));
  const std::int64_t stride = w.rows / n_heads;
  for (std::size_t i = 0; i < squares.size(); ++i) {
    if (!norm.empty()) {
      squares[i] = square(norm[i % norm.size()]);
      continue;
    }
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t r = at / head_dim * stride + at % head_dim;
    kernels::dequantize_row(w.type, w.data + static_cast<std::size_t>(r) * w.row_bytes(),
                            row.data(), w.cols);
    const std::vector<float>& inputs = source.input.weight;
    float sum = 0;
    for (std::size_t c = 0; c < row.size(); ++c)
      sum += square(inputs.empty() ? row[c] : row[c] * inputs[c]);
    if (source.with_bias && !source.linear.bias.empty())
      sum += square(source.linear.bias[static_cast<std::size_t>(r)]);
    squares[i] = sum;
  }
  return squares;
}

// Each dimension of [n, head_dim] gets the sum of those that rotate together.
void add_pairs(const KeyRotation& rotation, std::span<float> squares, std::size_t head_dim) {
  for (std::size_t head = 0; head < squares.size(); head += head_dim) {
    for_each_pair(rotation, [&](std::size_t, std::size_t x, std::size_t y) {
      squares[head + x] = squares[head + y] = squares[head + x] + squares[head + y];
    });
  }
}

// Of one KV head; `queries` [n, head_dim]: of those that look at it.
void balance(std::span<const float> queries, std::span<const float> keys,
             std::span<float> factors) {
  const std::size_t head_dim = keys.size();
  double logarithms = 0;
  for (std::size_t d = 0; d < head_dim; ++d) {
    float query = 0;
    for (std::size_t i = d; i < queries.size(); i += head_dim) query += queries[i];
    const float ratio = query / keys[d];
    factors[d] = std::isfinite(ratio) && ratio > 0 ? std::pow(ratio, 0.25f) : 1.0f;
    logarithms += std::log(factors[d]);
  }
  const auto middle = static_cast<float>(std::exp(logarithms / static_cast<double>(head_dim)));
  for (float& factor : factors)
    factor = std::clamp(factor / middle, 1 / kLargestFactor, kLargestFactor);
}

}  // namespace

std::vector<std::vector<float>> key_balances(const Config& config, const Weights& weights) {
  std::vector<std::vector<float>> all(weights.layers.size());
  if (weights.stored == StoredPages::kGo) return all;
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
    if (!config.has_keys(layer) || !w.q.weight || !w.k.weight) continue;
    const Heads heads = config.heads(layer);
    std::vector<float> queries =
        squares_of({w.q, w.q_norm, w.attention_norm, true}, heads.n_heads, heads.head_dim);
    std::vector<float> keys =
        squares_of({w.k, w.k_norm, w.attention_norm, false}, heads.n_kv_heads, heads.head_dim);
    std::vector<float>& factors = all[static_cast<std::size_t>(layer)];
    factors.resize(keys.size());
    const auto head_dim = static_cast<std::size_t>(heads.head_dim);
    const KeyRotation rotation = key_rotation(config, layer);
    add_pairs(rotation, queries, head_dim);
    add_pairs(rotation, keys, head_dim);
    const std::size_t shared = queries.size() / keys.size() * head_dim;
    for (std::size_t head = 0; head * head_dim < keys.size(); ++head) {
      balance(std::span(queries).subspan(head * shared, shared),
              std::span(keys).subspan(head * head_dim, head_dim),
              std::span(factors).subspan(head * head_dim, head_dim));
    }
  }
  return all;
}

}  // namespace runnel
