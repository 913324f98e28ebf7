#include "support/reference_gemma4.h"

#include <cmath>
#include <numbers>

namespace runnel::test {
namespace {

Doubles part(const Doubles& x, std::size_t first, std::size_t n) {
  const auto begin = x.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(n)};
}

void scale(Doubles& x, double factor) {
  for (double& value : x) value *= factor;
}

void add(Doubles& x, const Doubles& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

}  // namespace

ReferenceGemma4::ReferenceGemma4(const gguf::File& file, const CachePolicy& policy, Softmax softmax)
    : ReferenceFile(file),
      policy_(policy),
      softmax_(softmax),
      dim_(size(count("embedding_length"))),
      n_layers_(size(count("block_count"))),
      n_heads_(size(count("attention.head_count"))),
      local_(counts("attention.sliding_window_pattern")),
      kv_heads_(counts("attention.head_count_kv")),
      entries_(n_layers_) {}

Doubles ReferenceGemma4::logits(Token token, std::int64_t position) {
  Doubles x = part(tensor("token_embd.weight"), size(token) * dim_, dim_);
  scale(x, std::sqrt(static_cast<double>(dim_)));
  const std::vector<Doubles> inputs = layer_inputs(token, x);
  for (std::size_t i = 0; i < n_layers_; ++i) layer(i, position, inputs[i], x);
  Doubles result = multiply("token_embd", norm("output_norm", x));
  const double cap = number("final_logit_softcapping", 0);
  for (double& logit : result) logit = cap * std::tanh(logit / cap);
  return result;
}

std::size_t ReferenceGemma4::head_dim(std::size_t layer) const {
  return size(count(is_local(layer) ? "attention.key_length_swa" : "attention.key_length"));
}

Doubles ReferenceGemma4::norm(const std::string& name, const Doubles& x) {
  const double mean = dot(x.data(), x.data(), x.size()) / static_cast<double>(x.size());
  Doubles y = x;
  scale(y, 1 / std::sqrt(mean + number("attention.layer_norm_rms_epsilon", 0)));
  for (std::size_t i = 0; !name.empty() && i < y.size(); ++i) y[i] *= tensor(name + ".weight")[i];
  return y;
}

Doubles ReferenceGemma4::norm_heads(const std::string& name, const Doubles& x, std::size_t dim) {
  Doubles all;
  for (std::size_t first = 0; first < x.size(); first += dim) {
    const Doubles head = norm(name, part(x, first, dim));
    all.insert(all.end(), head.begin(), head.end());
  }
  return all;
}

// Of local layers every pair rotates; of the others the first quarter, by the frequencies that it
// has where all do.
Doubles ReferenceGemma4::rotated(std::size_t layer, const double* head, std::int64_t position) {
  const std::size_t d = head_dim(layer);
  const double base = number(is_local(layer) ? "rope.freq_base_swa" : "rope.freq_base", 0);
  Doubles x(head, head + d);
  for (std::size_t i = 0; i < (is_local(layer) ? d / 2 : d / 8); ++i) {
    const double angle = static_cast<double>(position) *
                         std::pow(base, -2 * static_cast<double>(i) / static_cast<double>(d));
    const double a = x[i];
    const double b = x[i + d / 2];
    x[i] = a * std::cos(angle) - b * std::sin(angle);
    x[i + d / 2] = a * std::sin(angle) + b * std::cos(angle);
  }
  return x;
}

std::vector<Doubles> ReferenceGemma4::layer_inputs(Token token, const Doubles& embedding) {
  const std::size_t width = size(count("embedding_length_per_layer_input"));
  if (width == 0) return std::vector<Doubles>(n_layers_);
  Doubles projected = multiply("per_layer_model_proj", embedding);
  scale(projected, 1 / std::sqrt(static_cast<double>(dim_)));
  std::vector<Doubles> all;
  for (std::size_t i = 0; i < n_layers_; ++i) {
    Doubles of_layer =
        part(tensor("per_layer_token_embd.weight"), (size(token) * n_layers_ + i) * width, width);
    scale(of_layer, std::sqrt(static_cast<double>(width)));
    add(of_layer, norm("per_layer_proj_norm", part(projected, i * width, width)));
    scale(of_layer, 1 / std::sqrt(2.0));
    all.push_back(of_layer);
  }
  return all;
}

void ReferenceGemma4::layer(std::size_t index, std::int64_t position, const Doubles& input,
                            Doubles& x) {
  const std::string block = "blk." + std::to_string(index) + ".";
  const Doubles attended = attention(index, position, norm(block + "attn_norm", x));
  add(x, norm(block + "post_attention_norm", attended));
  Doubles fed = ffn(block, "", 0, norm(block + "ffn_norm", x));
  if (has(block + "ffn_gate_inp.weight")) {
    fed = norm(block + "post_ffw_norm_1", fed);
    add(fed, norm(block + "post_ffw_norm_2", experts(block, x)));
  }
  add(x, norm(block + "post_ffw_norm", fed));
  if (!input.empty()) {
    Doubles gate = multiply(block + "inp_gate", x);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gelu(gate[i]) * input[i];
    add(x, norm(block + "post_norm", multiply(block + "proj", gate)));
  }
  scale(x, tensor(block + "layer_output_scale.weight")[0]);
}

Doubles ReferenceGemma4::attention(std::size_t layer, std::int64_t position, const Doubles& h) {
  const std::string block = "blk." + std::to_string(layer) + ".";
  const std::size_t d = head_dim(layer);
  const std::size_t first_shared = n_layers_ - size(count("attention.shared_kv_layers"));
  std::size_t source = layer;
  if (layer >= first_shared) {
    source = first_shared - 1;
    while (is_local(source) != is_local(layer)) --source;
  } else {
    const Doubles k = multiply(block + "attn_k", h);
    const Doubles v = has(block + "attn_v.weight") ? multiply(block + "attn_v", h) : k;
    entries_[layer].push_back({norm_heads(block + "attn_k_norm", k, d), norm_heads("", v, d)});
  }
  std::vector<const Entry*> cache;  // what this token sees, itself last
  for (std::int64_t key = 0; key <= position; ++key) {
    if (key < policy_.sinks || position - key <= policy_.window)
      cache.push_back(&entries_[source][size(key)]);
  }
  const Doubles q = norm_heads(block + "attn_q_norm", multiply(block + "attn_q", h), d);
  const std::size_t group = n_heads_ / size(kv_heads_[layer]);
  Doubles heads;
  for (std::size_t head = 0; head < n_heads_; ++head) {
    const Doubles out = attend(layer, part(q, head * d, d), head / group, cache);
    heads.insert(heads.end(), out.begin(), out.end());
  }
  return multiply(block + "attn_output", heads);
}

// Positions are places in the cache; scores are not scaled.
Doubles ReferenceGemma4::attend(std::size_t layer, const Doubles& query, std::size_t kv_head,
                                const std::vector<const Entry*>& cache) {
  const std::size_t d = query.size();
  const auto c = static_cast<std::int64_t>(cache.size()) - 1;
  const Doubles q = rotated(layer, query.data(), c);
  double denominator = softmax_ == Softmax::kOffByOne ? 1 : 0;
  Doubles out(d);
  for (std::int64_t j = 0; j <= c; ++j) {
    if (is_local(layer) && c - j >= count("attention.sliding_window")) continue;
    const Doubles k = rotated(layer, &cache[size(j)]->key[kv_head * d], j);
    const double weight = std::exp(dot(q.data(), k.data(), d));
    denominator += weight;
    for (std::size_t i = 0; i < d; ++i) out[i] += weight * cache[size(j)]->value[kv_head * d + i];
  }
  scale(out, 1 / denominator);
  return out;
}

Doubles ReferenceGemma4::ffn(const std::string& block, const std::string& suffix,
                             std::size_t expert, const Doubles& h) {
  Doubles hidden = multiply(block + "ffn_up" + suffix, h, expert);
  const Doubles gate = multiply(block + "ffn_gate" + suffix, h, expert);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] *= gelu(gate[i]);
  return multiply(block + "ffn_down" + suffix, hidden, expert);
}

// Shares are the softmax over all experts, brought to a sum of 1 over the chosen, then times each
// expert's own factor.
Doubles ReferenceGemma4::experts(const std::string& block, const Doubles& x) {
  Doubles routed = norm("", x);
  for (std::size_t i = 0; i < dim_; ++i)
    routed[i] *= tensor(block + "ffn_gate_inp.scale")[i] / std::sqrt(static_cast<double>(dim_));
  Doubles share = multiply(block + "ffn_gate_inp", routed);
  for (double& value : share) value = std::exp(value);
  std::vector<std::size_t> order(share.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return share[a] > share[b]; });
  order.resize(size(count("expert_used_count")));
  double sum = 0;
  for (const std::size_t e : order) sum += share[e];
  const Doubles h = norm(block + "pre_ffw_norm_2", x);
  Doubles result(dim_);
  for (const std::size_t e : order) {
    Doubles of_expert = ffn(block, "_exps", e, h);
    scale(of_expert, share[e] / sum * tensor(block + "ffn_down_exps.scale")[e]);
    add(result, of_expert);
  }
  return result;
}

}  // namespace runnel::test
