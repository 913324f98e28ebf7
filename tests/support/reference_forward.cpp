#include "support/reference_forward.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>
#include <string>

#include "support/reference_file.h"
#include "support/reference_gemma4.h"
#include "support/reference_mixers.h"

namespace runnel::test {
namespace {

// What the descriptions of the models say; sizes come from the file.
struct Description {
  bool layer_norm = false;  // else RMS norm
  bool gelu = false;        // the tanh form; else SiLU
  bool gated = true;
  bool parallel = false;
  bool adjacent_pairs = false;  // rotary pairs (2i, 2i + 1), else (i, i + half)
  bool scales_embeddings = false;
  bool takes_residual = false;   // no norms before attention and ffn, only after
  bool norms_all_heads = false;  // of q and k together
  bool norms_after_rotation = false;
  bool divides_logits = false;  // by logit_scale
  int unrotated_period = 0;     // every period-th layer has no positions
  int local_period = 0;         // every period-th layer sees everything, the others a local window
  int layers_of_27b = 0;
};

const std::map<std::string, Description> kDescriptions = {
    {"llama", {.adjacent_pairs = true}},
    {"mpt", {.layer_norm = true, .gelu = true, .gated = false}},
    {"falcon", {.layer_norm = true, .gelu = true, .gated = false, .parallel = true}},
    {"gptneox", {.layer_norm = true, .gelu = true, .gated = false, .parallel = true}},
    {"qwen2", {}},
    {"qwen3", {}},
    {"qwen3moe", {}},
    {"gemma", {.gelu = true, .scales_embeddings = true}},
    {"gemma2", {.gelu = true, .scales_embeddings = true, .local_period = 2, .layers_of_27b = 46}},
    {"gemma3", {.gelu = true, .scales_embeddings = true, .local_period = 6, .layers_of_27b = 62}},
    {"gpt-oss", {.local_period = 2}},
    {"mistral3", {.adjacent_pairs = true}},
    {"smollm3", {.adjacent_pairs = true, .unrotated_period = 4}},
    {"granite", {.adjacent_pairs = true, .divides_logits = true}},
    {"granitemoe", {.adjacent_pairs = true, .divides_logits = true}},
    {"minicpm", {.adjacent_pairs = true, .divides_logits = true}},
    {"phi3", {}},
    {"olmo2", {.takes_residual = true, .norms_all_heads = true, .local_period = 4}},
    {"exaone4", {.takes_residual = true, .unrotated_period = 4, .local_period = 4}},
    {"seed_oss", {}},
    {"hunyuan-dense", {.norms_after_rotation = true}},
    {"ernie4_5", {.adjacent_pairs = true}},
    {"glm4", {.adjacent_pairs = true}},
    {"starcoder2", {.layer_norm = true, .gelu = true, .gated = false}},
    {"internlm2", {.adjacent_pairs = true}},
    {"qwen3next", {}},
    {"qwen35", {}},
    {"qwen35moe", {}},
    {"lfm2", {}},
    {"lfm2moe", {}},
};

// As the ALiBi paper gives them: a geometric series, and for other numbers of heads than powers of
// two every other slope of the next longer series.
Doubles slopes(std::size_t n_heads, double max_bias) {
  std::size_t n = 1;
  while (2 * n <= n_heads) n *= 2;
  Doubles result;
  for (std::size_t i = 1; i <= n; ++i)
    result.push_back(std::pow(2, -max_bias * static_cast<double>(i) / static_cast<double>(n)));
  if (n == n_heads) return result;
  const Doubles finer = slopes(2 * n, max_bias);
  for (std::size_t i = 0; result.size() < n_heads; i += 2) result.push_back(finer[i]);
  return result;
}

struct Frequencies {
  Doubles of_pair;  // radians a position
  double magnitude = 1;
};

// Distances between rotations follow the YaRN paper, section 3.2, with whole pair numbers.
Frequencies yarn(std::size_t dims, double base, double factor, double original_context) {
  const auto d = static_cast<double>(dims);
  const auto pair_turning = [&](double rotations) {
    return d * std::log(original_context / (2 * std::numbers::pi * rotations)) /
           (2 * std::log(base));
  };
  const double low = std::max(std::floor(pair_turning(32)), 0.0);
  const double high = std::min(std::ceil(pair_turning(1)), d - 1);
  Frequencies f;
  for (std::size_t i = 0; i < dims / 2; ++i) {
    const auto pair = static_cast<double>(i);
    const double ramp = std::clamp((pair - low) / std::max(high - low, 0.001), 0.0, 1.0);
    const double original = std::pow(base, -2 * pair / d);
    f.of_pair.push_back(ramp * original / factor + (1 - ramp) * original);
  }
  f.magnitude = 0.1 * std::log(factor) + 1;
  return f;
}

Frequencies plain(std::size_t dims, double base, double factor) {
  Frequencies f;
  for (std::size_t i = 0; i < dims / 2; ++i) {
    const double exponent = -2 * static_cast<double>(i) / static_cast<double>(dims);
    f.of_pair.push_back(std::pow(base, exponent) / factor);
  }
  return f;
}

class Reference : private ReferenceFile {
 public:
  Reference(const gguf::File& file, const CachePolicy& policy, Softmax softmax,
            std::span<const std::int64_t> windows = {})
      : ReferenceFile(file),
        policy_(policy),
        windows_(windows),
        softmax_(softmax),
        is_(kDescriptions.at(name_)),
        dim_(size(count("embedding_length"))),
        n_layers_(size(count("block_count"))),
        n_heads_(size(count("attention.head_count"))),
        n_kv_heads_(size(largest_count("attention.head_count_kv"))),
        head_dim_(size(count("attention.key_length", static_cast<int>(dim_ / n_heads_)))),
        layers_(n_layers_),
        delta_nets_(n_layers_),
        short_convs_(n_layers_) {
    if (is_.local_period > 0 && count("attention.sliding_window", 0) == 0)  // OLMo 2, EXAONE 1.2B
      is_.local_period = is_.unrotated_period = 0;
    if (name_ == "gptneox") is_.parallel = file.get_bool("gptneox.use_parallel_residual");
    if (name_ == "mpt") slopes_ = slopes(n_heads_, number("attention.max_alibi_bias", 8));
  }

  Doubles logits(Token token, std::int64_t position) {
    const Doubles& embeddings = tensor("token_embd.weight");
    const auto row = embeddings.begin() + static_cast<std::ptrdiff_t>(size(token) * dim_);
    Doubles x(row, row + static_cast<std::ptrdiff_t>(dim_));
    if (is_.scales_embeddings) {
      for (double& value : x) value *= std::sqrt(static_cast<double>(dim_));
    }
    for (double& value : x) value *= number("embedding_scale", 1);
    for (std::size_t i = 0; i < n_layers_; ++i) layer(i, position, x);
    const Doubles h = norm(has("token_embd_norm.weight") ? "token_embd_norm" : "output_norm", x);
    Doubles result = multiply(has("output.weight") ? "output" : "token_embd", h);
    const double cap = number("final_logit_softcapping", 0);
    if (is_.divides_logits) {
      for (double& logit : result) logit /= number("logit_scale", 1);
    }
    for (double& logit : result) logit = cap > 0 ? cap * std::tanh(logit / cap) : logit;
    return result;
  }

 private:
  struct Entry {  // one token's keys and values in one layer, not rotated: [n_kv_heads * head_dim]
    Doubles key;
    Doubles value;
  };

  // ---- pieces
  Doubles norm(const std::string& name, Doubles x) {
    const char* key =
        is_.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    const auto n = static_cast<double>(x.size());
    const double mean = is_.layer_norm ? std::accumulate(x.begin(), x.end(), 0.0) / n : 0;
    for (double& value : x) value -= mean;
    const double scale = 1 / std::sqrt(dot(x.data(), x.data(), x.size()) / n + number(key, 0));
    const Doubles& weight = tensor(name + ".weight");
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= scale * weight[i];
    if (has(name + ".bias")) add(x, tensor(name + ".bias"));
    return x;
  }
  void norm_heads(const std::string& name, Doubles& x) {
    if (!has(name + ".weight")) return;
    for (auto head = x.begin(); head != x.end(); head += static_cast<std::ptrdiff_t>(head_dim_)) {
      const auto end = head + static_cast<std::ptrdiff_t>(head_dim_);
      const Doubles normal = norm(name, Doubles(head, end));
      std::copy(normal.begin(), normal.end(), head);
    }
  }
  static void add(Doubles& x, const Doubles& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  std::int64_t local_window(std::size_t layer) const {
    const bool is_local_throughout = name_ == "phi3" || name_ == "llama" || name_ == "qwen2";
    if (is_local_throughout) return count("attention.sliding_window", 0);
    const bool is_local = is_.local_period > 0 && (layer + 1) % size(is_.local_period) != 0;
    return is_local ? count("attention.sliding_window") : 0;
  }

  Frequencies frequencies(std::size_t layer) {
    const auto dims = size(count("rope.dimension_count", static_cast<int>(head_dim_)));
    const std::string scaling(file_.get_string(name_ + ".rope.scaling.type", "none"));
    double base = number("rope.freq_base", 10000);
    double factor = number("rope.scaling.factor", 1);
    if ((name_ == "gemma3" || name_ == "olmo2") &&
        local_window(layer) > 0) {  // local layers: as they were trained first
      if (name_ == "gemma3") base = 10000;
      return plain(dims, base, 1);
    }
    if (scaling == "yarn")
      return yarn(dims, base, factor, number("rope.scaling.original_context_length", 0));
    Frequencies f = plain(dims, base, factor);
    if (!has("rope_factors_long.weight")) return f;
    // LongRoPE: which factors it is depends on how far the cache reaches
    const bool is_long =
        policy_.sinks + policy_.window + 1 > count("rope.scaling.original_context_length");
    const Doubles& divisors =
        tensor(is_long ? "rope_factors_long.weight" : "rope_factors_short.weight");
    for (std::size_t i = 0; i < dims / 2; ++i) f.of_pair[i] /= divisors[i];
    f.magnitude = number("rope.scaling.attn_factor", 1);
    return f;
  }

  Doubles rotated(std::size_t layer, const double* head, const Frequencies& f,
                  std::int64_t position) const {
    Doubles x(head, head + head_dim_);
    if (name_ == "mpt") return x;
    if (is_.unrotated_period > 0 && (layer + 1) % size(is_.unrotated_period) == 0) return x;
    const std::size_t n = f.of_pair.size();
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t a = is_.adjacent_pairs ? 2 * i : i;
      const std::size_t b = is_.adjacent_pairs ? 2 * i + 1 : i + n;
      const double angle = static_cast<double>(position) * f.of_pair[i];
      const double re = x[a] * std::cos(angle) - x[b] * std::sin(angle);
      const double im = x[a] * std::sin(angle) + x[b] * std::cos(angle);
      x[a] = re * f.magnitude;
      x[b] = im * f.magnitude;
    }
    return x;
  }

  // ---- a layer
  void layer(std::size_t index, std::int64_t position, Doubles& x) {
    const std::string block = "blk." + std::to_string(index) + ".";
    const bool has_two_norms = has(block + "attn_norm_2.weight");  // Falcon 40B
    const Doubles h =
        is_.takes_residual ? x : norm(block + (has_two_norms ? "attn_norm_2" : "attn_norm"), x);
    Doubles attended = mix(block, index, position, h);
    // the ffn norm has the name of a post norm
    const bool is_renamed = name_ == "gpt-oss" || name_ == "seed_oss" || name_ == "qwen3next" ||
                            name_.compare(0, 6, "qwen35") == 0;
    if (!is_renamed && has(block + "post_attention_norm.weight"))
      attended = norm(block + "post_attention_norm", attended);
    if (is_.parallel) {
      const bool has_ffn_norm = has(block + "ffn_norm.weight");
      const Doubles input = has_two_norms  ? norm(block + "attn_norm", x)
                            : has_ffn_norm ? norm(block + "ffn_norm", x)
                                           : h;
      add(x, ffn(block, input));
      add(x, attended);
      return;
    }
    for (double& value : attended) value *= number("residual_scale", 1);
    add(x, attended);
    const std::string ffn_norm = block + (is_renamed ? "post_attention_norm" : "ffn_norm");
    Doubles fed = ffn(block, is_.takes_residual ? x : norm(ffn_norm, x));
    if (has(block + "post_ffw_norm.weight")) fed = norm(block + "post_ffw_norm", fed);
    for (double& value : fed) value *= number("residual_scale", 1);
    add(x, fed);
  }

  Doubles mix(const std::string& block, std::size_t index, std::int64_t position,
              const Doubles& h) {
    const LayerTensors tensors = {
        [&](const std::string& name, const Doubles& x) { return multiply(block + name, x); },
        [&](const std::string& name) -> const Doubles& { return tensor(block + name); },
        [&](const std::string& name) { return has(block + name); }};
    if (has(block + "ssm_out.weight")) {
      return delta_nets_[index].next({.n_key_heads = size(count("ssm.group_count")),
                                      .n_value_heads = size(count("ssm.time_step_rank")),
                                      .head_dim = size(count("ssm.state_size")),
                                      .conv_width = size(count("ssm.conv_kernel")),
                                      .is_tiled = name_ != "qwen3next",
                                      .epsilon = number("attention.layer_norm_rms_epsilon", 0)},
                                     tensors, h);
    }
    if (has(block + "shortconv.conv.weight"))
      return short_convs_[index].next(size(count("shortconv.l_cache")), tensors, h);
    return attention(block, index, position, h);
  }

  struct Projected {
    Doubles q, k, v;
    Doubles gate;  // of attention's output; or empty
  };
  Projected project(const std::string& block, const Doubles& h) {
    Projected p;
    if (has(block + "attn_qkv.weight")) {
      const Doubles all = multiply(block + "attn_qkv", h);
      const auto end_of_q = all.begin() + static_cast<std::ptrdiff_t>(n_heads_ * head_dim_);
      const auto end_of_k = end_of_q + static_cast<std::ptrdiff_t>(n_kv_heads_ * head_dim_);
      p = {Doubles(all.begin(), end_of_q),
           Doubles(end_of_q, end_of_k),
           Doubles(end_of_k, all.end()),
           {}};
    } else {
      p = {multiply(block + "attn_q", h),
           multiply(block + "attn_k", h),
           multiply(block + "attn_v", h),
           {}};
    }
    if (p.q.size() == 2 * n_heads_ * head_dim_) {  // by head the query, then the gate
      const Doubles both = std::move(p.q);
      p.q.clear();
      for (std::size_t i = 0; i < both.size(); ++i)
        (i / head_dim_ % 2 == 0 ? p.q : p.gate).push_back(both[i]);
    }
    const double clamp = number("attention.clamp_kqv", 0);
    for (Doubles* part : {&p.q, &p.k, &p.v}) {
      for (double& value : *part) value = clamp > 0 ? std::clamp(value, -clamp, clamp) : value;
    }
    if (is_.norms_all_heads) {
      p.q = norm(block + "attn_q_norm", p.q);
      p.k = norm(block + "attn_k_norm", p.k);
    } else if (!is_.norms_after_rotation) {
      norm_heads(block + "attn_q_norm", p.q);
      norm_heads(block + "attn_k_norm", p.k);
    }
    return p;
  }

  Doubles attention(const std::string& block, std::size_t index, std::int64_t position,
                    const Doubles& h) {
    Projected p = project(block, h);
    std::vector<Entry>& entries = layers_[index];
    entries.push_back({std::move(p.k), std::move(p.v)});
    std::vector<const Entry*> cache;  // what this token sees, itself last
    const std::int64_t window = windows_.empty() ? policy_.window : windows_[index];
    for (std::int64_t key = 0; key <= position; ++key) {
      if (key < policy_.sinks || position - key <= window) cache.push_back(&entries[size(key)]);
    }
    Doubles heads;
    for (std::size_t head = 0; head < n_heads_; ++head) {
      const Doubles out = attend(block, index, head, &p.q[head * head_dim_], cache);
      heads.insert(heads.end(), out.begin(), out.end());
    }
    for (std::size_t i = 0; i < p.gate.size(); ++i) heads[i] /= 1 + std::exp(-p.gate[i]);
    return multiply(block + "attn_output", heads);
  }

  double score_scale() const {
    const bool is_27b = is_.layers_of_27b == static_cast<int>(n_layers_);
    if (number("attention.scale", 0) > 0) return number("attention.scale", 0);
    return 1 / std::sqrt(static_cast<double>(is_27b ? dim_ / n_heads_ : head_dim_));
  }

  // Positions are places in the cache.
  Doubles attend(const std::string& block, std::size_t index, std::size_t head, const double* query,
                 const std::vector<const Entry*>& cache) {
    const Frequencies f = frequencies(index);
    const auto c = static_cast<std::int64_t>(cache.size()) - 1;
    Doubles q = rotated(index, query, f, c);
    if (is_.norms_after_rotation) norm_heads(block + "attn_q_norm", q);
    if (number("attention.temperature_scale", 0) > 0) {
      const auto lengths = static_cast<double>(c / count("rope.scaling.original_context_length"));
      for (double& x : q) x *= 1 + number("attention.temperature_scale", 0) * std::log(1 + lengths);
    }
    const std::size_t kv_at = head / (n_heads_ / n_kv_heads_) * head_dim_;
    const double cap = name_ == "gemma2" ? number("attn_logit_softcapping", 50) : 0;
    const std::int64_t local = local_window(index);
    double denominator = softmax_ == Softmax::kOffByOne ? 1 : 0;
    if (has(block + "attn_sinks.weight"))
      denominator += std::exp(tensor(block + "attn_sinks.weight")[head]);
    Doubles out(head_dim_);
    for (std::int64_t j = 0; j <= c; ++j) {
      if (local > 0 && c - j >= local) continue;
      Doubles k = rotated(index, &cache[size(j)]->key[kv_at], f, j);
      if (is_.norms_after_rotation) norm_heads(block + "attn_k_norm", k);
      double score = dot(q.data(), k.data(), head_dim_) * score_scale();
      if (cap > 0) score = cap * std::tanh(score / cap);
      if (!slopes_.empty()) score -= slopes_[head] * static_cast<double>(c - j);
      const double weight = std::exp(score);  // scores of these small models stay small
      denominator += weight;
      for (std::size_t d = 0; d < head_dim_; ++d)
        out[d] += weight * cache[size(j)]->value[kv_at + d];
    }
    for (double& value : out) value /= denominator;
    return out;
  }

  double activation(double x) const {
    if (!is_.gelu) return x / (1 + std::exp(-x));
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }

  Doubles ffn(const std::string& block, const Doubles& h) {
    const auto n_used = size(count("expert_used_count", 0));
    if (n_used == 0 || !has(block + "ffn_gate_inp.weight")) return one_ffn(block, "", 0, h);
    const bool is_sigmoid = count("expert_gating_func", 1) == 2;
    const Doubles router = multiply(block + "ffn_gate_inp", h);
    const auto score = [&](std::size_t e) {
      if (!is_sigmoid) return router[e];
      return 1 / (1 + std::exp(-router[e])) + tensor(block + "exp_probs_b.bias")[e];
    };
    const auto share = [&](std::size_t e) {  // not of sum 1 yet
      return is_sigmoid ? 1 / (1 + std::exp(-router[e])) : std::exp(router[e]);
    };
    std::vector<std::size_t> order(router.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return score(a) > score(b); });
    double sum = is_sigmoid ? 1e-6 : 0;
    for (std::size_t i = 0; i < n_used; ++i) sum += share(order[i]);
    Doubles result(dim_);
    for (std::size_t i = 0; i < n_used; ++i) {
      Doubles part = one_ffn(block, "_exps", order[i], h);
      for (double& value : part) value *= share(order[i]) / sum;
      add(result, part);
    }
    if (!has(block + "ffn_up_shexp.weight")) return result;
    Doubles shared = one_ffn(block, "_shexp", 0, h);
    if (has(block + "ffn_gate_inp_shexp.weight")) {
      const Doubles& gate = tensor(block + "ffn_gate_inp_shexp.weight");
      const double share_of_it = 1 / (1 + std::exp(-dot(gate.data(), h.data(), h.size())));
      for (double& value : shared) value *= share_of_it;
    }
    add(result, shared);
    return result;
  }

  Doubles one_ffn(const std::string& block, const std::string& suffix, std::size_t expert,
                  const Doubles& h) {
    Doubles hidden = multiply(block + "ffn_up" + suffix, h, expert);
    if (is_.gated) {
      Doubles gate;
      if (has(block + "ffn_gate" + suffix + ".weight")) {
        gate = multiply(block + "ffn_gate" + suffix, h, expert);
      } else {  // in one tensor, the gate first
        const auto half = hidden.begin() + static_cast<std::ptrdiff_t>(hidden.size() / 2);
        gate.assign(hidden.begin(), half);
        hidden.erase(hidden.begin(), half);
      }
      for (std::size_t i = 0; i < hidden.size(); ++i) {
        if (name_ == "gpt-oss") {
          const double g = std::min(gate[i], 7.0);
          hidden[i] = (std::clamp(hidden[i], -7.0, 7.0) + 1) * g / (1 + std::exp(-1.702 * g));
        } else {
          hidden[i] *= activation(gate[i]);
        }
      }
    } else {
      for (double& value : hidden) value = activation(value);
    }
    return multiply(block + "ffn_down" + suffix, hidden, expert);
  }

  CachePolicy policy_;
  std::span<const std::int64_t> windows_;  // by layer; empty: all have the policy's
  Softmax softmax_;
  Description is_;
  std::size_t dim_;
  std::size_t n_layers_;
  std::size_t n_heads_;
  std::size_t n_kv_heads_;
  std::size_t head_dim_;
  Doubles slopes_;  // ALiBi
  std::vector<std::vector<Entry>> layers_;
  std::vector<ReferenceDeltaNet> delta_nets_;
  std::vector<ReferenceShortConv> short_convs_;
};

template <typename Model>
std::vector<float> run(Model model, std::span<const Token> tokens) {
  std::vector<float> all;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Doubles logits = model.logits(tokens[i], static_cast<std::int64_t>(i));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

}  // namespace

std::vector<float> reference_logits(const gguf::File& file, std::span<const Token> tokens,
                                    const CachePolicy& policy, Softmax softmax) {
  if (file.get_string("general.architecture") == "gemma4")
    return run(ReferenceGemma4(file, policy, softmax), tokens);
  return run(Reference(file, policy, softmax), tokens);
}

std::vector<float> reference_logits(const gguf::File& file, std::span<const Token> tokens,
                                    int sinks, std::span<const std::int64_t> windows) {
  const CachePolicy longest = {sinks, *std::max_element(windows.begin(), windows.end())};
  return run(Reference(file, longest, Softmax::kStandard, windows), tokens);
}

}  // namespace runnel::test
