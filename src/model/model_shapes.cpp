// The shapes of real models, from their published configurations, and a tiny one of each
// architecture.
#include <fmt/format.h>

#include "model/architecture.h"
#include "model/make_model.h"
#include "runnel/error.h"

namespace runnel {
namespace {

constexpr RopeScaling kYarn32 = {
    .kind = RopeScaling::Kind::kYarn, .factor = 32, .original_context = 4096};
constexpr RopeScaling kShort24 = {.original_context = 24};
constexpr RopeScaling kYarn16 = {
    .kind = RopeScaling::Kind::kYarn, .factor = 8, .original_context = 16};
constexpr DeltaNet kTinyNet = {
    .n_key_heads = 2, .n_value_heads = 4, .head_dim = 16, .conv_width = 4};
constexpr RopeScaling kTinyYarn = {
    .kind = RopeScaling::Kind::kYarn, .factor = 8, .original_context = 64};

// clang-format off
constexpr ModelShape kShapes[] = {
    {.name = "llama-2-7b", .architecture = "llama", .dim = 4096, .n_layers = 32, .n_heads = 32,
     .n_kv_heads = 32, .head_dim = 128, .ffn_dim = 11008, .vocabulary_size = 32000,
     .trained_context = 4096},
    {.name = "llama-3-8b", .architecture = "llama", .dim = 4096, .n_layers = 32, .n_heads = 32,
     .n_kv_heads = 8, .head_dim = 128, .ffn_dim = 14336, .vocabulary_size = 128256,
     .trained_context = 8192, .rope_base = 500000},
    {.name = "tinyllama-1.1b", .architecture = "llama", .dim = 2048, .n_layers = 22, .n_heads = 32,
     .n_kv_heads = 4, .head_dim = 64, .ffn_dim = 5632, .vocabulary_size = 32000,
     .trained_context = 2048},
    {.name = "mistral-7b", .architecture = "llama", .dim = 4096, .n_layers = 32, .n_heads = 32,
     .n_kv_heads = 8, .head_dim = 128, .ffn_dim = 14336, .vocabulary_size = 32000,
     .trained_context = 32768, .rope_base = 1000000},
    {.name = "mixtral-8x7b", .architecture = "llama", .dim = 4096, .n_layers = 32, .n_heads = 32,
     .n_kv_heads = 8, .head_dim = 128, .ffn_dim = 14336, .vocabulary_size = 32000,
     .trained_context = 32768, .rope_base = 1000000, .n_experts = 8, .n_experts_used = 2},
    {.name = "mpt-7b", .architecture = "mpt", .dim = 4096, .n_layers = 32, .n_heads = 32,
     .n_kv_heads = 32, .head_dim = 128, .ffn_dim = 16384, .vocabulary_size = 50432,
     .trained_context = 2048, .is_tied = true},
    {.name = "falcon-7b", .architecture = "falcon", .dim = 4544, .n_layers = 32, .n_heads = 71,
     .n_kv_heads = 1, .head_dim = 64, .ffn_dim = 18176, .vocabulary_size = 65024,
     .trained_context = 2048},
    {.name = "falcon-40b", .architecture = "falcon", .dim = 8192, .n_layers = 60, .n_heads = 128,
     .n_kv_heads = 8, .head_dim = 64, .ffn_dim = 32768, .vocabulary_size = 65024,
     .trained_context = 2048, .has_second_norm = true},
    {.name = "pythia-6.9b", .architecture = "gptneox", .dim = 4096, .n_layers = 32, .n_heads = 32,
     .n_kv_heads = 32, .head_dim = 128, .ffn_dim = 16384, .vocabulary_size = 50432,
     .trained_context = 2048, .rope_dims = 32},
    {.name = "qwen2.5-0.5b", .architecture = "qwen2", .dim = 896, .n_layers = 24, .n_heads = 14,
     .n_kv_heads = 2, .head_dim = 64, .ffn_dim = 4864, .vocabulary_size = 151936,
     .trained_context = 32768, .is_tied = true, .rope_base = 1000000},
    {.name = "qwen3-0.6b", .architecture = "qwen3", .dim = 1024, .n_layers = 28, .n_heads = 16,
     .n_kv_heads = 8, .head_dim = 128, .ffn_dim = 3072, .vocabulary_size = 151936,
     .trained_context = 40960, .is_tied = true, .rope_base = 1000000},
    {.name = "smollm3-3b", .architecture = "smollm3", .dim = 2048, .n_layers = 36, .n_heads = 16,
     .n_kv_heads = 4, .head_dim = 128, .ffn_dim = 11008, .vocabulary_size = 128256,
     .trained_context = 65536, .is_tied = true, .rope_base = 5000000},
    {.name = "gemma-2-2b", .architecture = "gemma2", .dim = 2304, .n_layers = 26, .n_heads = 8,
     .n_kv_heads = 4, .head_dim = 256, .ffn_dim = 9216, .vocabulary_size = 256000,
     .trained_context = 8192, .is_tied = true, .local_window = 4096},
    {.name = "gemma-3-1b", .architecture = "gemma3", .dim = 1152, .n_layers = 26, .n_heads = 4,
     .n_kv_heads = 1, .head_dim = 256, .ffn_dim = 6912, .vocabulary_size = 262144,
     .trained_context = 32768, .is_tied = true, .rope_base = 1000000, .local_window = 512},
    {.name = "gemma-4-e2b", .architecture = "gemma4", .dim = 1536, .n_layers = 35, .n_heads = 8,
     .n_kv_heads = 1, .head_dim = 512, .ffn_dim = 6144, .vocabulary_size = 262144,
     .trained_context = 131072, .is_tied = true, .rope_base = 1000000, .local_window = 512,
     .local_head_dim = 256, .local_kv_heads = 1, .local_period = 5, .layer_input_dim = 256,
     .n_shared_layers = 20, .widens_shared = true},
    {.name = "gemma-4-e4b", .architecture = "gemma4", .dim = 2560, .n_layers = 42, .n_heads = 8,
     .n_kv_heads = 2, .head_dim = 512, .ffn_dim = 10240, .vocabulary_size = 262144,
     .trained_context = 131072, .is_tied = true, .rope_base = 1000000, .local_window = 512,
     .local_head_dim = 256, .local_kv_heads = 2, .local_period = 6, .layer_input_dim = 256,
     .n_shared_layers = 18},
    {.name = "gpt-oss-20b", .architecture = "gpt-oss", .dim = 2880, .n_layers = 24, .n_heads = 64,
     .n_kv_heads = 8, .head_dim = 64, .ffn_dim = 2880, .vocabulary_size = 201088,
     .trained_context = 131072, .rope_base = 150000, .scaling = kYarn32, .local_window = 128,
     .n_experts = 32, .n_experts_used = 4},

    {.name = "tiny", .architecture = "llama", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512},
    {.name = "tiny", .architecture = "mpt", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 4, .head_dim = 16, .ffn_dim = 256, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .qkv_clamp = 2},
    {.name = "tiny", .architecture = "falcon", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 1, .head_dim = 16, .ffn_dim = 256, .vocabulary_size = 512,
     .trained_context = 512},
    {.name = "tiny", .architecture = "gptneox", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 4, .head_dim = 16, .ffn_dim = 256, .vocabulary_size = 512,
     .trained_context = 512, .rope_dims = 4},
    {.name = "tiny", .architecture = "qwen2", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .rope_base = 1000000},
    {.name = "tiny", .architecture = "qwen3", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 1000000},
    {.name = "tiny", .architecture = "qwen3moe", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 64, .vocabulary_size = 512, .trained_context = 512,
     .rope_base = 1000000, .n_experts = 8, .n_experts_used = 3},
    {.name = "tiny", .architecture = "gemma", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 1, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true},
    {.name = "tiny", .architecture = "gemma2", .dim = 64, .n_layers = 4, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .local_window = 8},
    {.name = "tiny", .architecture = "gemma3", .dim = 64, .n_layers = 7, .n_heads = 4,
     .n_kv_heads = 1, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 1000000, .local_window = 8},
    {.name = "tiny", .architecture = "gemma4", .dim = 64, .n_layers = 6, .n_heads = 4,
     .n_kv_heads = 1, .head_dim = 32, .ffn_dim = 96, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 1000000, .local_window = 8,
     .local_head_dim = 16, .local_kv_heads = 2, .local_period = 3, .layer_input_dim = 16,
     .n_shared_layers = 3, .widens_shared = true},
    {.name = "tiny", .architecture = "gpt-oss", .dim = 64, .n_layers = 4, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 96, .vocabulary_size = 512, .trained_context = 512,
     .rope_base = 150000, .scaling = kTinyYarn, .local_window = 8, .n_experts = 4,
     .n_experts_used = 2},
    {.name = "tiny", .architecture = "mistral3", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .rope_base = 1000000, .scaling = kYarn16,
     .temperature_scale = 0.1f},
    {.name = "tiny", .architecture = "smollm3", .dim = 64, .n_layers = 4, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 5000000},
    {.name = "tiny", .architecture = "granite", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .embedding_scale = 12,
     .residual_scale = 0.22f, .attention_scale = 0.15f, .logit_scale = 8},
    {.name = "tiny", .architecture = "granitemoe", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 64, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .n_experts = 8, .n_experts_used = 3,
     .shared_ffn_dim = 96, .embedding_scale = 12, .residual_scale = 0.22f, .attention_scale = 0.15f,
     .logit_scale = 6},
    {.name = "tiny", .architecture = "minicpm", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 4, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .embedding_scale = 12,
     .residual_scale = 0.9f, .logit_scale = 2},
    {.name = "tiny", .architecture = "phi3", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_dims = 12, .scaling = kShort24, .has_long_rope = true},
    {.name = "tiny", .architecture = "olmo2", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 4, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .rope_base = 500000},
    {.name = "tiny", .architecture = "exaone4", .dim = 64, .n_layers = 4, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .rope_base = 1000000, .local_window = 8},
    {.name = "tiny", .architecture = "seed_oss", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .rope_base = 10000000},
    {.name = "tiny", .architecture = "hunyuan-dense", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true},
    {.name = "tiny", .architecture = "ernie4_5", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 500000},
    {.name = "tiny", .architecture = "glm4", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .rope_dims = 8},
    {.name = "tiny", .architecture = "starcoder2", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 256, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 100000},
    {.name = "tiny", .architecture = "internlm2", .dim = 64, .n_layers = 2, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .rope_base = 1000000},
    {.name = "tiny", .architecture = "qwen3next", .dim = 64, .n_layers = 4, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 64, .vocabulary_size = 512, .trained_context = 512,
     .rope_base = 10000000, .rope_dims = 8, .n_experts = 8, .n_experts_used = 3,
     .shared_ffn_dim = 96, .attention_period = 4, .delta_net = kTinyNet},
    {.name = "tiny", .architecture = "qwen35", .dim = 64, .n_layers = 8, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 10000000, .rope_dims = 12,
     .attention_period = 4, .delta_net = kTinyNet},
    {.name = "tiny", .architecture = "qwen35moe", .dim = 64, .n_layers = 4, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 64, .vocabulary_size = 512, .trained_context = 512,
     .rope_base = 10000000, .rope_dims = 12, .n_experts = 8, .n_experts_used = 3,
     .shared_ffn_dim = 96, .attention_period = 4, .delta_net = kTinyNet},
    {.name = "tiny", .architecture = "lfm2", .dim = 64, .n_layers = 5, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 160, .vocabulary_size = 512,
     .trained_context = 512, .is_tied = true, .rope_base = 1000000, .attention_period = 2,
     .short_conv_width = 3},
    {.name = "tiny", .architecture = "lfm2moe", .dim = 64, .n_layers = 4, .n_heads = 4,
     .n_kv_heads = 2, .head_dim = 16, .ffn_dim = 64, .vocabulary_size = 512, .trained_context = 512,
     .is_tied = true, .rope_base = 1000000, .n_experts = 8, .n_experts_used = 3,
     .attention_period = 2, .short_conv_width = 3, .n_dense_layers = 1, .dense_ffn_dim = 160},
};
// clang-format on

std::string names_of_shapes() {
  std::string names = "tiny";
  for (const ModelShape& shape : kShapes) {
    if (shape.name != "tiny") names += fmt::format(", {}", shape.name);
  }
  return names;
}

std::string names_of_architectures() {
  std::string names;
  for (const Architecture& architecture : architectures())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", architecture.name);
  return names;
}

}  // namespace

std::span<const ModelShape> model_shapes() { return kShapes; }

const ModelShape& find_shape(std::string_view name, std::string_view architecture) {
  if (name == "tiny" && architecture.empty()) {
    throw Error(
        fmt::format("shape tiny: want an architecture with it: {}", names_of_architectures()));
  }
  const ModelShape* other = nullptr;
  for (const ModelShape& shape : kShapes) {
    if (shape.name != name) continue;
    if (architecture.empty() || shape.architecture == architecture) return shape;
    other = &shape;
  }
  if (other == nullptr)
    throw Error(fmt::format("shape '{}': want one of {}", name, names_of_shapes()));
  throw Error(fmt::format("shape {}: want architecture {}, found '{}'", name,
                          name == "tiny" ? names_of_architectures() : other->architecture,
                          architecture));
}

}  // namespace runnel
