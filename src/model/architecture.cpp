#include "model/architecture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace runnel {
namespace {

constexpr Architecture kArchitectures[] = {
    {"llama", "Llama 1-3, Mistral, Mixtral, TinyLlama, SmolLM, Yi", arch::llama},
    {"mpt", "MPT 7B and 30B", arch::mpt},
    {"falcon", "Falcon 7B, 11B and 40B", arch::falcon},
    {"gptneox", "Pythia, GPT-NeoX, Dolly 2", arch::gptneox},
    {"qwen2", "Qwen 1.5, 2 and 2.5, QwQ, DeepSeek R1 distilled to Qwen", arch::qwen2},
    {"qwen3", "Qwen 3", arch::qwen3},
    {"qwen3moe", "Qwen 3 with experts (30B-A3B, 235B-A22B)", arch::qwen3},
    {"gemma", "Gemma 1", arch::gemma},
    {"gemma2", "Gemma 2", arch::gemma2},
    {"gemma3", "Gemma 3 (text)", arch::gemma3},
    {"gemma4", "Gemma 4 (text)", arch::gemma4},
    {"gpt-oss", "gpt-oss 20B and 120B", arch::gpt_oss},
    {"mistral3", "Mistral Small 3.x, Ministral 3", arch::mistral3},
    {"smollm3", "SmolLM3", arch::smollm3},
    {"granite", "Granite 3", arch::granite},
    {"granitemoe", "Granite 3 with experts", arch::granite},
    {"minicpm", "MiniCPM 1 and 2", arch::minicpm},
    {"phi3", "Phi 3, 3.5 and 4", arch::phi3},
    {"olmo2", "OLMo 2 and 3", arch::olmo2},
    {"exaone4", "EXAONE 4", arch::exaone4},
    {"seed_oss", "Seed-OSS 36B", arch::seed_oss},
    {"hunyuan-dense", "Hunyuan 0.5B to 7B", arch::hunyuan_dense},
    {"ernie4_5", "ERNIE 4.5 0.3B", arch::llama},
    {"glm4", "GLM 4 (0414)", arch::glm4},
    {"starcoder2", "StarCoder 2", arch::starcoder2},
    {"internlm2", "InternLM 2 and 2.5", arch::llama},
    {"qwen3next", "Qwen 3 Next", arch::qwen35},
    {"qwen35", "Qwen 3.5", arch::qwen35},
    {"qwen35moe", "Qwen 3.5 with experts", arch::qwen35},
    {"lfm2", "LFM 2", arch::lfm2},
    {"lfm2moe", "LFM 2 with experts", arch::lfm2},
};

[[noreturn]] void fail_range(const gguf::File& file, std::string_view key, std::int64_t found) {
  throw Error(fmt::format("{}: metadata {}: want 1 to {}, found {}", file.name(), key,
                          std::numeric_limits<int>::max(), found));
}

int checked_count(const gguf::File& file, std::string_view key, std::int64_t value) {
  if (value < 1 || value > std::numeric_limits<int>::max()) fail_range(file, key, value);
  return static_cast<int>(value);
}

// Some converters write head counts as a list by layer; equal entries are one number. Zeros are
// layers of another kind. Of entries that may differ, the largest.
int count_or_list(const Metadata& metadata, std::string_view key, int fallback,
                  ByLayer by_layer = ByLayer::kEqual) {
  const gguf::File& file = metadata.file();
  const std::string full = fmt::format("{}.{}", file.get_string("general.architecture"), key);
  const gguf::Value* value = file.find(full);
  if (value == nullptr || value->as_array() == nullptr) return metadata.count(key, fallback);
  const auto counts = value->as_array()->ints();
  if (!counts || counts->empty())
    throw Error(fmt::format("{}: metadata {}: want integers", file.name(), full));
  const std::int64_t largest = *std::max_element(counts->begin(), counts->end());
  for (const std::int64_t count : *counts) {
    if (by_layer == ByLayer::kEqual && count != largest && count != 0) {
      throw Error(
          fmt::format("{}: metadata {}: want the same count in every layer, found {} and {}",
                      file.name(), full, largest, count));
    }
  }
  return checked_count(file, full, largest);
}

int vocabulary_size(const Metadata& metadata) {
  const gguf::Tensor* embeddings = metadata.file().find_tensor("token_embd.weight");
  if (embeddings != nullptr) return static_cast<int>(embeddings->shape[1]);
  return metadata.count("vocab_size");
}

void check_range(const Metadata& metadata, std::string_view key, bool is_good,
                 std::string_view wanted, double found) {
  if (!is_good)
    throw Error(fmt::format("{}: metadata {}: want {}, found {}", metadata.file().name(), key,
                            wanted, found));
}

RopeScaling read_scaling(const Metadata& metadata, const Config& config) {
  const std::string_view type = metadata.text("rope.scaling.type", "none");
  RopeScaling scaling;
  scaling.factor = static_cast<double>(
      metadata.number("rope.scaling.factor", metadata.number("rope.scale_linear", 1)));
  check_range(metadata, "rope.scaling.factor", scaling.factor >= 1e-3 && scaling.factor <= 1e6,
              "0.001 to 1000000", scaling.factor);
  const float multiplier = metadata.number("rope.scaling.yarn_log_multiplier", 0);
  if (multiplier > 0) scaling.log_multiplier = static_cast<double>(multiplier);
  if (type == "yarn") {
    scaling.kind = RopeScaling::Kind::kYarn;
    scaling.original_context =
        metadata.count("rope.scaling.original_context_length", config.trained_context);
    scaling.attention_factor = static_cast<double>(metadata.number("rope.scaling.attn_factor", 1));
    scaling.beta_fast = static_cast<double>(metadata.number("rope.scaling.yarn_beta_fast", 32));
    scaling.beta_slow = static_cast<double>(metadata.number("rope.scaling.yarn_beta_slow", 1));
  } else if (type == "linear" || (type == "none" && scaling.factor != 1)) {
    scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type != "none" && type != "longrope") {
    throw Error(
        fmt::format("{}: metadata rope.scaling.type: want none, linear, yarn or longrope, found {}",
                    metadata.file().name(), type));
  }
  return scaling;
}

std::vector<float> read_frequency_factors(const Metadata& metadata, std::string_view name,
                                          int n_pairs) {
  const gguf::Tensor* tensor = metadata.file().find_tensor(name);
  if (tensor == nullptr) return {};
  if (tensor->type != TensorType::kF32 || tensor->n_elements() != n_pairs) {
    throw Error(fmt::format("{}: tensor {}: want F32 [{}], found {} {}", metadata.file().name(),
                            name, n_pairs, traits(tensor->type).name,
                            gguf::shape_text({tensor->shape.data(), 1})));
  }
  std::vector<float> factors(static_cast<std::size_t>(n_pairs));
  std::memcpy(factors.data(), tensor->data.data(), tensor->data.size());
  return factors;
}

// This project's own key (docs/training.md): models trained with the off-by-one softmax are another
// function without it.
Softmax read_softmax(const gguf::File& file) {
  constexpr std::string_view kKey = "runnel.attention.softmax";
  const std::string_view name = file.get_string(kKey, "standard");
  if (name == "standard") return Softmax::kStandard;
  if (name == "off-by-one") return Softmax::kOffByOne;
  throw Error(fmt::format("{}: metadata {}: want standard or off-by-one, found {}", file.name(),
                          kKey, name));
}

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

Config read_config(const gguf::File& file) {
  const std::string_view name = file.get_string("general.architecture");
  std::string names;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) {
      Config config = architecture.read(file);
      config.softmax = read_softmax(file);
      return config;
    }
    names += fmt::format("{}{}", names.empty() ? "" : ", ", architecture.name);
  }
  throw Error(fmt::format("{}: architecture '{}' is not supported; supported: {}", file.name(),
                          name, names));
}

Metadata::Metadata(const gguf::File& file)
    : file_(&file), prefix_(fmt::format("{}.", file.get_string("general.architecture"))) {}

std::string Metadata::full(std::string_view key) const { return prefix_ + std::string(key); }

int Metadata::count(std::string_view key) const {
  return checked_count(*file_, full(key), file_->get_int(full(key)));
}
int Metadata::count(std::string_view key, int fallback) const {
  return checked_count(*file_, full(key), file_->get_int(full(key), fallback));
}
std::vector<int> Metadata::counts(std::string_view key, int n) const {
  const auto n_layers = static_cast<std::size_t>(n);
  const gguf::Value* value = file_->find(full(key));
  if (value == nullptr || value->as_array() == nullptr) return std::vector(n_layers, count(key));
  const auto list = value->as_array()->ints();
  if (!list || list->size() != n_layers) {
    throw Error(fmt::format("{}: metadata {}: want {} integers, one for each layer, found {}",
                            file_->name(), full(key), n, list ? list->size() : 0));
  }
  for (const std::int64_t entry : *list) {
    if (entry < 0 || entry > std::numeric_limits<int>::max()) fail_range(*file_, full(key), entry);
  }
  return {list->begin(), list->end()};
}
float Metadata::number(std::string_view key) const {
  return static_cast<float>(file_->get_float(full(key)));
}
float Metadata::number(std::string_view key, double fallback) const {
  return static_cast<float>(file_->get_float(full(key), fallback));
}
bool Metadata::flag(std::string_view key, bool fallback) const {
  return file_->get_bool(full(key), fallback);
}
std::string_view Metadata::text(std::string_view key, std::string_view fallback) const {
  return file_->get_string(full(key), fallback);
}

Config read_common(const Metadata& metadata, ByLayer by_layer) {
  Config c;
  c.architecture = metadata.file().get_string("general.architecture");
  c.dim = metadata.count("embedding_length");
  c.n_layers = metadata.count("block_count");
  check_range(metadata, "block_count",
              static_cast<std::size_t>(c.n_layers) <= metadata.file().tensors().size(),
              "no more layers than tensors", c.n_layers);
  c.n_heads = count_or_list(metadata, "attention.head_count", 0);
  c.n_kv_heads = count_or_list(metadata, "attention.head_count_kv", c.n_heads, by_layer);
  check_range(metadata, "attention.head_count_kv", c.n_heads % c.n_kv_heads == 0,
              "a divisor of the head count", c.n_kv_heads);
  c.head_dim = metadata.count("attention.key_length", std::max(1, c.dim / c.n_heads));
  check_range(metadata, "attention.value_length",
              metadata.count("attention.value_length", c.head_dim) == c.head_dim, "the key length",
              metadata.count("attention.value_length", c.head_dim));
  check_range(metadata, "attention.key_length", c.head_dim <= 1024, "at most 1024", c.head_dim);
  check_range(metadata, "attention.head_count", c.n_heads <= (1 << 24) / c.head_dim,
              fmt::format("at most {} of {} dimensions", (1 << 24) / c.head_dim, c.head_dim),
              c.n_heads);
  const std::int64_t of_expert =
      metadata.file().get_int(c.architecture + ".expert_feed_forward_length", 0);
  c.ffn_dim = count_or_list(metadata, "feed_forward_length", static_cast<int>(of_expert), by_layer);
  c.vocabulary_size = vocabulary_size(metadata);
  c.trained_context = metadata.count("context_length");
  return c;
}

void read_experts(const Metadata& metadata, Config& config) {
  const bool has_experts = metadata.file().get_int(config.architecture + ".expert_count", 0) > 0;
  if (!has_experts) return;
  config.n_experts = metadata.count("expert_count");
  config.n_experts_used = metadata.count("expert_used_count");
  check_range(metadata, "expert_used_count", config.n_experts_used <= config.n_experts,
              fmt::format("at most the {} experts", config.n_experts), config.n_experts_used);
  config.ffn_dim = metadata.count("expert_feed_forward_length", config.ffn_dim);
  if (metadata.file().get_int(config.architecture + ".expert_shared_feed_forward_length", 0) > 0)
    config.shared_ffn_dim = metadata.count("expert_shared_feed_forward_length");
}

Rope read_rope(const Metadata& metadata, const Config& config, RopeStyle style,
               double default_base) {
  const int dims = metadata.count("rope.dimension_count", config.head_dim);
  check_range(metadata, "rope.dimension_count", dims % 2 == 0 && dims <= config.head_dim,
              fmt::format("an even number, at most the head dimension {}", config.head_dim), dims);
  const double base = static_cast<double>(metadata.number("rope.freq_base", default_base));
  check_range(metadata, "rope.freq_base", base > 1 && base < 1e12, "above 1", base);
  return make_rope(style, dims, base, read_scaling(metadata, config),
                   read_frequency_factors(metadata, "rope_freqs.weight", dims / 2));
}

void read_long_rope(const Metadata& metadata, Config& config) {
  const int n_pairs = config.rope.n_pairs();
  const auto factors = [&](const char* name) {
    return read_frequency_factors(metadata, name, n_pairs);
  };
  const std::vector<float> long_factors = factors("rope_factors_long.weight");
  const std::vector<float> short_factors = factors("rope_factors_short.weight");
  if (long_factors.empty() && short_factors.empty()) return;
  check_range(metadata, "rope.scaling.type", !long_factors.empty() && !short_factors.empty(),
              "both tensors rope_factors_long.weight and rope_factors_short.weight", 1);
  config.short_context =
      metadata.count("rope.scaling.original_context_length", config.trained_context);
  config.rope.magnitude = metadata.number("rope.scaling.attn_factor", 1);
  config.long_rope = config.rope;
  for (std::size_t i = 0; i < long_factors.size(); ++i) {
    config.rope.frequencies[i] /= static_cast<double>(short_factors[i]);
    config.long_rope.frequencies[i] /= static_cast<double>(long_factors[i]);
  }
  config.local_rope = config.rope;
}

std::vector<int> alternate_local(int n_layers, int window, int period) {
  std::vector<int> windows(static_cast<std::size_t>(n_layers));
  for (int layer = 0; layer < n_layers; ++layer) {
    windows[static_cast<std::size_t>(layer)] = (layer + 1) % period == 0 ? 0 : window;
  }
  return windows;
}

std::vector<int> read_local_windows(const Metadata& metadata, const Config& config) {
  const gguf::File& file = metadata.file();
  const std::string key =
      fmt::format("{}.attention.sliding_window", file.get_string("general.architecture"));
  const std::int64_t window = file.get_int(key, 0);
  if (window <= 0 || window >= config.trained_context) return {};
  std::vector<int> windows(static_cast<std::size_t>(config.n_layers), 1);
  if (file.find(key + "_pattern") != nullptr)
    windows = metadata.counts("attention.sliding_window_pattern", config.n_layers);
  for (int& of_layer : windows) of_layer = of_layer != 0 ? static_cast<int>(window) : 0;
  return windows;
}

}  // namespace runnel
