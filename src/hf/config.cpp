#include "hf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "hf/json_file.h"
#include "runnel/error.h"

namespace runnel::hf {
namespace {

using Json = nlohmann::json;

struct Kind {
  std::string_view model_type;    // of config.json
  std::string_view architecture;  // of a GGUF file
};
constexpr std::array kKinds = {Kind{"llama", "llama"},
                               Kind{"mistral", "llama"},
                               Kind{"qwen2", "qwen2"},
                               Kind{"qwen3", "qwen3"},
                               Kind{"gemma", "gemma"},
                               Kind{"gemma2", "gemma2"},
                               Kind{"gemma3_text", "gemma3"},
                               Kind{"gpt_neox", "gptneox"},
                               Kind{"falcon", "falcon"},
                               Kind{"RefinedWeb", "falcon"},
                               Kind{"RefinedWebModel", "falcon"},
                               Kind{"mpt", "mpt"}};

// config.json by key, with errors that name the file and the key.
class Settings {
 public:
  Settings(Json json, std::string name) : json_(std::move(json)), name_(std::move(name)) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  int count(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) {
      if (!has(key)) continue;
      if (!json_[key].is_number_integer() || json_[key] < 1 || json_[key] > (1 << 30))
        fail(fmt::format("{}: want a whole number from 1 to 2^30, found {}", key,
                         json_[key].dump()));
      return json_[key].get<int>();
    }
    fail(fmt::format("want a number {}, found none", *keys.begin()));
  }
  int count(const char* key, int fallback) const { return has(key) ? count({key}) : fallback; }
  double number(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_number())
      fail(fmt::format("{}: want a number, found {}", key, json_[key].dump()));
    return json_[key].get<double>();
  }
  bool flag(const char* key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_boolean())
      fail(fmt::format("{}: want true or false, found {}", key, json_[key].dump()));
    return json_[key].get<bool>();
  }
  std::string text(const char* key, const char* fallback) const {
    return has(key) && json_[key].is_string() ? json_[key].get<std::string>() : fallback;
  }
  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> found;
    if (!has(key) || !json_[key].is_array()) return found;
    for (const Json& text : json_[key])
      found.push_back(text.is_string() ? text.get<std::string>() : text.dump());
    return found;
  }
  Settings part(const char* key) const {
    const bool is_there = has(key) && json_[key].is_object();
    return {is_there ? json_[key] : Json::object(), fmt::format("{}: {}", name_, key)};
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", name_, what));
  }
  void want(bool is_so, const std::string& what) const {
    if (!is_so) fail("want " + what + ", found another; this library does not run such a model");
  }

 private:
  Json json_;
  std::string name_;
};

std::string_view architecture_of(const Settings& settings) {
  const std::string type = settings.text("model_type", "");
  std::string known;
  for (const Kind& kind : kKinds) {
    if (kind.model_type == type) return kind.architecture;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", kind.model_type);
  }
  settings.fail(fmt::format("model_type: want one of {}, found '{}'", known, type));
}

// Writes keys with the architecture before them.
class Keys {
 public:
  Keys(gguf::Header& header, const std::string& architecture)
      : header_(header), prefix_(architecture + ".") {}
  void count(const char* key, int n) { header_.add(prefix_ + key, static_cast<std::uint32_t>(n)); }
  void number(const char* key, double x) { header_.add(prefix_ + key, static_cast<float>(x)); }
  void flag(const char* key, bool x) { header_.add(prefix_ + key, x); }
  void list(const char* key, const std::vector<bool>& x) { header_.add(prefix_ + key, x); }
  void text(const char* key, const char* x) { header_.add(prefix_ + key, std::string(x)); }

 private:
  gguf::Header& header_;
  std::string prefix_;
};

int kv_heads(const Settings& s, const std::string& architecture, int n_heads) {
  if (architecture != "falcon") return s.count("num_key_value_heads", n_heads);
  if (s.flag("new_decoder_architecture", false) || s.has("n_head_kv"))
    return s.has("n_head_kv") ? s.count({"n_head_kv"}) : s.count("num_kv_heads", n_heads);
  return s.flag("multi_query", true) ? 1 : n_heads;
}

// Llama 3's: long wavelengths are stretched by `factor`, short ones stay, those between are mixed.
std::vector<float> llama3_factors(const Settings& scaling, double base, int n_pairs) {
  const double factor = scaling.number("factor", 8);
  const double low = scaling.number("low_freq_factor", 1);
  const double high = scaling.number("high_freq_factor", 4);
  const double context = scaling.number("original_max_position_embeddings", 8192);
  std::vector<float> factors;
  for (int i = 0; i < n_pairs; ++i) {
    const double wavelength =
        2 * std::numbers::pi * std::pow(base, static_cast<double>(i) / n_pairs);
    const double smooth = (context / wavelength - low) / (high - low);
    double found = 1;
    if (wavelength > context / low) {
      found = factor;
    } else if (wavelength >= context / high) {
      found = 1 / ((1 - smooth) / factor + smooth);
    }
    factors.push_back(static_cast<float>(found));
  }
  return factors;
}

void add_rope(Keys& keys, const Settings& s, ModelConfig& config) {
  Settings parameters = s.part("rope_parameters");  // of newer files
  if (parameters.has("full_attention")) parameters = parameters.part("full_attention");
  const double base = parameters.number(
      "rope_theta",
      s.number(config.architecture == "gptneox" ? "rotary_emb_base" : "rope_theta", 10000));
  const bool is_gptneox = config.architecture == "gptneox";
  const double share =
      parameters.number("partial_rotary_factor", is_gptneox ? s.number("rotary_pct", 0.25)
                                                            : s.number("partial_rotary_factor", 1));
  const int n_dims = static_cast<int>(config.head_dim * share);
  keys.count("rope.dimension_count", n_dims);
  keys.number("rope.freq_base", base);
  const Settings scaling = s.has("rope_scaling") ? s.part("rope_scaling") : parameters;
  const std::string type = scaling.text("rope_type", scaling.text("type", "default").c_str());
  if (type == "llama3") {
    config.rope_factors = llama3_factors(scaling, base, n_dims / 2);
  } else if (type == "linear" || type == "yarn") {
    keys.text("rope.scaling.type", type.c_str());
    keys.number("rope.scaling.factor", scaling.number("factor", 1));
    if (scaling.has("original_max_position_embeddings"))
      keys.count("rope.scaling.original_context_length",
                 scaling.count({"original_max_position_embeddings"}));
  } else if (type != "default") {
    s.fail(fmt::format("rope_scaling: want default, linear, llama3 or yarn, found {}", type));
  }
}

// Every how many layers one sees all of the window: as newer files say it of each layer, or as
// older ones do.
int full_attention_period(const Settings& s) {
  const std::vector<std::string> types = s.texts("layer_types");
  if (types.empty()) return s.count("sliding_window_pattern", 6);
  const auto first = std::find(types.begin(), types.end(), "full_attention");
  const auto period = static_cast<int>(first - types.begin()) + 1;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const bool is_full = (i + 1) % static_cast<std::size_t>(period) == 0;
    s.want(types[i] == (is_full ? "full_attention" : "sliding_attention"),
           fmt::format("layer_types with full_attention in every layer of {}", period));
  }
  return period;
}

// Layers that see the last tokens alone: as newer files say it of each, or Mistral's all and Qwen
// 2's from one on.
void add_local_layers(Keys& keys, const Settings& s, const ModelConfig& config) {
  const bool is_qwen = config.architecture != "llama";
  if (!s.has("sliding_window") || (is_qwen && !s.flag("use_sliding_window", false))) return;
  const std::vector<std::string> types = s.texts("layer_types");
  s.want(types.empty() || std::ssize(types) == config.n_layers,
         fmt::format("layer_types of {} layers", config.n_layers));
  const double first = is_qwen ? s.number("max_window_layers", 28) : 0;
  std::vector<bool> is_local;
  for (int layer = 0; layer < config.n_layers; ++layer)
    is_local.push_back(types.empty()
                           ? layer >= first
                           : types[static_cast<std::size_t>(layer)] == "sliding_attention");
  keys.count("attention.sliding_window", s.count({"sliding_window"}));
  keys.list("attention.sliding_window_pattern", is_local);
}

void add_gemma(Keys& keys, const Settings& s, const ModelConfig& config) {
  const double scalar = s.number("query_pre_attn_scalar", config.head_dim);
  s.want(scalar == config.head_dim || config.n_layers == 46 || config.n_layers == 62,
         fmt::format("query_pre_attn_scalar {}", config.head_dim));
  if (s.has("attn_logit_softcapping"))
    keys.number("attn_logit_softcapping", s.number("attn_logit_softcapping", 50));
  if (s.has("final_logit_softcapping"))
    keys.number("final_logit_softcapping", s.number("final_logit_softcapping", 30));
  keys.count("attention.sliding_window", s.count("sliding_window", 4096));
  if (config.architecture == "gemma3") {
    const Settings local = s.part("rope_parameters").part("sliding_attention");
    keys.number("rope.freq_base_swa",
                local.number("rope_theta", s.number("rope_local_base_freq", 10000)));
    keys.count("attention.sliding_window_pattern", full_attention_period(s));
  }
}

void add_mpt(Keys& keys, const Settings& s) {
  const Settings attention = s.part("attn_config");
  s.want(attention.flag("alibi", true) && !attention.flag("qk_ln", false),
         "attn_config.alibi without qk_ln");
  keys.number("attention.max_alibi_bias", attention.number("alibi_bias_max", 8));
  if (attention.has("clip_qkv"))
    keys.number("attention.clamp_kqv", attention.number("clip_qkv", 0));
}

void add_sizes(Keys& keys, const Settings& s, const ModelConfig& config, int dim) {
  keys.count("context_length", config.architecture == "falcon"
                                   ? s.count("max_position_embeddings", 2048)
                                   : s.count({"max_position_embeddings", "max_seq_len"}));
  keys.count("embedding_length", dim);
  keys.count("block_count", config.n_layers);
  if (config.architecture == "mpt") {
    keys.count("feed_forward_length", dim * s.count("expansion_ratio", 4));
  } else if (config.architecture == "falcon") {
    keys.count("feed_forward_length", s.count("ffn_hidden_size", 4 * dim));
  } else {
    keys.count("feed_forward_length", s.count({"intermediate_size"}));
  }
  keys.count("vocab_size", config.vocabulary_size);
  keys.count("attention.head_count", config.n_heads);
  keys.count("attention.head_count_kv", config.n_kv_heads);
  keys.count("attention.key_length", config.head_dim);
  keys.count("attention.value_length", config.head_dim);
  const bool has_layer_norm = config.architecture == "gptneox" || config.architecture == "falcon" ||
                              config.architecture == "mpt";
  if (has_layer_norm) {
    keys.number("attention.layer_norm_epsilon",
                s.number("layer_norm_eps", s.number("layer_norm_epsilon", 1e-5)));
  } else {
    keys.number("attention.layer_norm_rms_epsilon", s.number("rms_norm_eps", 1e-6));
  }
}

void check_activation(const Settings& s, const std::string& architecture) {
  const bool is_silu = architecture == "llama" || architecture.starts_with("qwen");
  for (const char* key : {"hidden_activation", "hidden_act", "activation"}) {
    if (!s.has(key)) continue;
    const std::string found = s.text(key, "");
    const bool is_good = is_silu ? found == "silu" || found == "swish" : found.starts_with("gelu");
    if (!is_good)
      s.fail(fmt::format("{}: want {}, found '{}'", key, is_silu ? "silu" : "gelu", found));
    return;
  }
}

bool is_tied(const Settings& s, const std::string& architecture) {
  const bool ties_by_default =
      architecture.starts_with("gemma") || architecture == "falcon" || architecture == "mpt";
  return s.flag("tie_word_embeddings", ties_by_default);
}

}  // namespace

ModelConfig read_config(const std::filesystem::path& folder, gguf::Header& header) {
  const std::filesystem::path path = folder / "config.json";
  const Settings s(read_json(path), path.string());
  ModelConfig config;
  config.architecture = architecture_of(s);
  const int dim = s.count({"hidden_size", "d_model"});
  config.n_layers = s.count({"num_hidden_layers", "n_layers", "n_layer"});
  s.want(config.n_layers <= 4096, "at most 4096 layers");
  config.n_heads = s.count({"num_attention_heads", "n_heads", "n_head"});
  s.want(config.n_heads <= (1 << 20) && dim <= (1 << 24), "at most 2^20 heads and 2^24 dimensions");
  config.n_kv_heads = kv_heads(s, config.architecture, config.n_heads);
  config.head_dim = s.count("head_dim", std::max(1, dim / config.n_heads));
  s.want(config.head_dim <= 1024 && config.n_kv_heads <= config.n_heads,
         "heads of at most 1024, and no more KV heads than heads");
  config.vocabulary_size = s.count({"vocab_size"});
  config.is_tied = is_tied(s, config.architecture);
  header.add("general.architecture", config.architecture);
  check_activation(s, config.architecture);
  Keys keys(header, config.architecture);
  add_sizes(keys, s, config, dim);
  if (config.architecture != "mpt") add_rope(keys, s, config);
  if (config.architecture == "mpt") add_mpt(keys, s);
  if (config.architecture == "gemma2" || config.architecture == "gemma3")
    add_gemma(keys, s, config);
  if (config.architecture == "llama" || config.architecture.starts_with("qwen"))
    add_local_layers(keys, s, config);
  if (config.architecture == "gptneox")
    keys.flag("use_parallel_residual", s.flag("use_parallel_residual", true));
  if (config.architecture == "falcon")
    s.want(!s.flag("alibi", false) && s.flag("parallel_attn", true), "parallel_attn without alibi");
  return config;
}

}  // namespace runnel::hf
