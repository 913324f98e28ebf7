// Layers that keep a state of constant size instead of keys and values: gated delta nets and short
// convolutions.
//
// A row's numbers come from its own input and its stream's state, and the rows of a stream pass one
// after the other, so that a chunk is its single steps to the last bit. Tasks are the channels or
// heads that share nothing.
#include <algorithm>
#include <array>
#include <cmath>

#include "device/cpu/cpu_operations.h"

namespace runnel::cpu {
namespace {

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// Convolves channels [first, last) of one token in place and moves their states on.
void convolve(const Vector& weights, int width, float* states, int first, int last, float* x) {
  for (int channel = first; channel < last; ++channel) {
    float* state = states + channel * (width - 1);
    const float* weight = &weights[size(channel) * size(width)];
    float sum = weight[width - 1] * x[channel];
    for (int i = 0; i + 1 < width; ++i) sum += weight[i] * state[i];
    for (int i = 0; i + 2 < width; ++i) state[i] = state[i + 1];
    if (width > 1) state[width - 2] = x[channel];
    x[channel] = sum;
  }
}

// x / sqrt(|x|^2 + 1e-6) * scale
void normalize_length(float* x, int n, float scale) {
  float square = 0;
  for (int i = 0; i < n; ++i) square += x[i] * x[i];
  const float factor = scale / std::sqrt(square + 1e-6f);
  for (int i = 0; i < n; ++i) x[i] *= factor;
}

// The delta rule: the state forgets by `decay`, and its value for this key moves by `beta` towards
// the token's. state [n keys, n values]; out: the state's value for the query.
void update(float* state, int n, const float* q, const float* k, const float* v, float decay,
            float beta, float* out) {
  float* recalled = out;
  std::fill_n(recalled, n, 0.0f);
  for (int i = 0; i < n; ++i) {
    float* row = state + i * n;
    for (int j = 0; j < n; ++j) row[j] *= decay;
    for (int j = 0; j < n; ++j) recalled[j] += row[j] * k[i];
  }
  for (int j = 0; j < n; ++j) recalled[j] = (v[j] - recalled[j]) * beta;
  for (int i = 0; i < n; ++i) {
    float* row = state + i * n;
    for (int j = 0; j < n; ++j) row[j] += k[i] * recalled[j];
  }
  std::fill_n(out, n, 0.0f);
  for (int i = 0; i < n; ++i) {
    const float* row = state + i * n;
    for (int j = 0; j < n; ++j) out[j] += row[j] * q[i];
  }
}

// Where a row's inputs lie in mixer_in_, after the products.
struct DeltaInputs {
  float *qkv, *gate, *beta, *alpha;
  DeltaInputs(float* base, std::size_t n, const DeltaNet& net)
      : qkv(base),
        gate(qkv + n * size(net.conv_dim())),
        beta(gate + n * size(net.value_dim())),
        alpha(beta + n * size(net.n_value_heads)) {}
};

}  // namespace

void CpuOperations::delta_net(int layer, const DeltaNet& net, const DeltaNetWeights& w,
                              float norm_epsilon, const Input& input, const Residual& residual) {
  const int n = n_rows();
  const float* x = input_of(input);
  const DeltaInputs in(mixer_in_.data(), size(n), net);
  const bool is_fused = !w.alpha.weight;  // beta and alpha
  std::array products = {product_of(w.qkv, x, n, in.qkv), product_of(w.gate, x, n, in.gate),
                         product_of(w.beta, x, n, in.beta),
                         product_of(is_fused ? w.beta : w.alpha, x, n, in.alpha)};
  multiply(std::span(products).first(is_fused ? 3 : 4));
  const int n_segments = static_cast<int>(segments_.size());
  const int d = net.head_dim;
  // One task: a key head of a segment with the value heads that share it.
  threads_.run(n_segments * net.n_key_heads, [&](int task, int) {
    const Segment& segment = segments_[size(task / net.n_key_heads)];
    const int key_head = task % net.n_key_heads;
    const int key_begin = key_head * d;
    float* state = step_.rows[size(segment.first)].cache->state(layer);
    for (int row = segment.first; row < segment.first + segment.n; ++row) {
      float* q = in.qkv + size(row) * size(net.conv_dim());
      float* k = q + net.key_dim();
      const auto convolve_head = [&](int first) {
        convolve(w.convolution, net.conv_width, state, first, first + d, q);
        kernels_.silu(q + first, nullptr, q + first, d);
      };
      convolve_head(key_begin);
      convolve_head(net.key_dim() + key_begin);
      normalize_length(q + key_begin, d, 1 / std::sqrt(static_cast<float>(d)));
      normalize_length(k + key_begin, d, 1);
      for (int i = 0; i < net.group(); ++i) {
        const int head = net.is_tiled ? key_head + i * net.n_key_heads : key_head * net.group() + i;
        const int v_begin = 2 * net.key_dim() + head * d;
        convolve_head(v_begin);
        const float* fused =
            in.beta + size(row) * size(2 * net.n_value_heads) + key_head * 2 * net.group();
        const std::size_t of_head = size(row) * size(net.n_value_heads) + size(head);
        const float beta = sigmoid(is_fused ? fused[i] : in.beta[of_head]);
        const float alpha = is_fused ? fused[net.group() + i] : in.alpha[of_head];
        const float decay =
            std::exp(w.decay[size(head)] * softplus(alpha + w.decay_bias[size(head)]));
        float* out = &mixed_[size(row) * size(net.value_dim()) + size(head) * size(d)];
        update(state + net.n_conv_state() + head * d * d, d, q + key_begin, k + key_begin,
               q + v_begin, decay, beta, out);
        kernels_.rms_norm(out, w.norm.weight.data(), norm_epsilon, out, d);
        const float* gate = in.gate + size(row) * size(net.value_dim()) + head * d;
        kernels_.silu(gate, out, out, d);
      }
    }
  });
  multiply(std::array{product_of(w.output, mixed_.data(), n, update_.data())});
  done(StepPart::kRecur);
  add(residual, update_.data());
}

void CpuOperations::short_conv(int layer, int width, const ShortConvWeights& w, const Input& input,
                               const Residual& residual) {
  constexpr int kChannels = 64;  // of a task
  const int n = n_rows();
  const int dim = residual.x.width;
  const float* x = input_of(input);
  multiply(std::array{product_of(w.input, x, n, mixer_in_.data())});
  const int n_segments = static_cast<int>(segments_.size());
  const int n_parts = (dim + kChannels - 1) / kChannels;
  threads_.run(n_segments * n_parts, [&](int task, int) {
    const Segment& segment = segments_[size(task / n_parts)];
    const int first = task % n_parts * kChannels;
    const int last = std::min(dim, first + kChannels);
    float* state = step_.rows[size(segment.first)].cache->state(layer);
    for (int row = segment.first; row < segment.first + segment.n; ++row) {
      float* before = &mixer_in_[size(row) * size(3 * dim)];
      const float* behind = before + dim;
      const float* value = behind + dim;
      for (int i = first; i < last; ++i) before[i] *= value[i];
      convolve(w.convolution, width, state, first, last, before);
      float* out = &mixed_[size(row) * size(dim)];
      for (int i = first; i < last; ++i) out[i] = behind[i] * before[i];
    }
  });
  multiply(std::array{product_of(w.output, mixed_.data(), n, update_.data())});
  done(StepPart::kRecur);
  add(residual, update_.data());
}

}  // namespace runnel::cpu
