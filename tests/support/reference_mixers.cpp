#include "support/reference_mixers.h"

#include <cmath>
#include <numeric>

namespace runnel::test {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }

Doubles slice(const Doubles& x, std::size_t first, std::size_t n) {
  const auto begin = x.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(n)};
}

Doubles of_unit_length(Doubles x) {
  const double square = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
  for (double& value : x) value /= std::sqrt(square + 1e-6);
  return x;
}

// One token of one head: S [n, n] of values by keys.
Doubles step(Doubles& s, const Doubles& q, const Doubles& k, const Doubles& v, double a, double b) {
  const std::size_t n = q.size();
  if (s.empty()) s.assign(n * n, 0.0);
  Doubles out(n);
  for (std::size_t i = 0; i < n; ++i) {
    double* row = &s[i * n];
    const double recalled = std::inner_product(k.begin(), k.end(), row, 0.0);
    for (std::size_t j = 0; j < n; ++j)
      row[j] = a * row[j] - a * b * recalled * k[j] + b * v[i] * k[j];
    out[i] = std::inner_product(q.begin(), q.end(), row, 0.0);
  }
  return out;
}

}  // namespace

Doubles ReferenceConvolution::next(const Doubles& weights, std::size_t width, const Doubles& x) {
  inputs_.push_back(x);
  Doubles y(x.size());
  for (std::size_t channel = 0; channel < x.size(); ++channel) {
    for (std::size_t back = 0; back < width && back < inputs_.size(); ++back) {
      y[channel] +=
          weights[channel * width + width - 1 - back] * inputs_[inputs_.size() - 1 - back][channel];
    }
  }
  return y;
}

Doubles ReferenceDeltaNet::next(const Sizes& is, const LayerTensors& tensors, const Doubles& x) {
  const std::size_t d = is.head_dim;
  const std::size_t group = is.n_value_heads / is.n_key_heads;
  Doubles qkv = convolution_.next(tensors.values("ssm_conv1d.weight"), is.conv_width,
                                  tensors.multiply("attn_qkv", x));
  for (double& value : qkv) value = silu(value);
  const Doubles z = tensors.multiply("attn_gate", x);
  const bool is_fused = tensors.has("ssm_ba.weight");
  const Doubles first = tensors.multiply(is_fused ? "ssm_ba" : "ssm_beta", x);
  const Doubles second = is_fused ? Doubles() : tensors.multiply("ssm_alpha", x);
  states_.resize(is.n_value_heads);
  Doubles heads;
  for (std::size_t head = 0; head < is.n_value_heads; ++head) {
    const std::size_t key_head = is.is_tiled ? head % is.n_key_heads : head / group;
    Doubles q = of_unit_length(slice(qkv, key_head * d, d));
    for (double& value : q) value /= std::sqrt(static_cast<double>(d));
    const Doubles k = of_unit_length(slice(qkv, (is.n_key_heads + key_head) * d, d));
    const Doubles v = slice(qkv, (2 * is.n_key_heads + head) * d, d);
    const std::size_t at = key_head * 2 * group + head % group;  // in the fused tensor
    const double b = sigmoid(first[is_fused ? at : head]);
    const double time =
        (is_fused ? first[at + group] : second[head]) + tensors.values("ssm_dt.bias")[head];
    const double a = std::exp(tensors.values("ssm_a")[head] * std::log(1 + std::exp(time)));
    Doubles out = step(states_[head], q, k, v, a, b);
    const double square = std::inner_product(out.begin(), out.end(), out.begin(), 0.0);
    const double rms = std::sqrt(square / static_cast<double>(d) + is.epsilon);
    for (std::size_t i = 0; i < d; ++i)
      heads.push_back(out[i] / rms * tensors.values("ssm_norm.weight")[i] * silu(z[head * d + i]));
  }
  return tensors.multiply("ssm_out", heads);
}

Doubles ReferenceShortConv::next(std::size_t width, const LayerTensors& tensors, const Doubles& x) {
  const std::size_t n = x.size();
  const Doubles bcx = tensors.multiply("shortconv.in_proj", x);
  Doubles product(n);
  for (std::size_t i = 0; i < n; ++i) product[i] = bcx[i] * bcx[2 * n + i];
  Doubles y = convolution_.next(tensors.values("shortconv.conv.weight"), width, product);
  for (std::size_t i = 0; i < n; ++i) y[i] *= bcx[n + i];
  return tensors.multiply("shortconv.out_proj", y);
}

}  // namespace runnel::test
