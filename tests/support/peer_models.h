// Small random models whose logits another widely used engine has given: the tiny ones of newer
// architectures, and variants that this engine can open. Its numbers are kept in
// tests/fixtures/logits, made once with its attention in single precision.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "support/made_models.h"

namespace runnel::test {

inline constexpr std::size_t kPeerTokens = 24;

inline std::vector<std::pair<std::string, ModelShape>> peer_models() {
  std::vector<std::pair<std::string, ModelShape>> all;
  const auto add = [&](const std::string& name, std::string_view architecture) -> ModelShape& {
    return all.emplace_back(name, find_shape("tiny", architecture)).second;
  };
  for (const char* name :
       {"mistral3", "smollm3", "granite", "granitemoe", "minicpm", "phi3", "olmo2", "seed_oss",
        "hunyuan-dense", "ernie4_5", "glm4", "starcoder2", "internlm2", "gemma4", "qwen3next",
        "qwen35", "qwen35moe", "lfm2", "lfm2moe"})
    add(name, name);
  add("exaone4-dense", "exaone4").local_window = 0;
  make_gemma4_experts(add("gemma4-experts", "gemma4"));
  ModelShape& olmo3 = add("olmo3", "olmo2");
  olmo3.n_layers = 4;
  olmo3.local_window = 8;
  olmo3.scaling = {.kind = RopeScaling::Kind::kYarn, .factor = 4, .original_context = 64};
  return all;
}

}  // namespace runnel::test
