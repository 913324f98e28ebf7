// config.json of a folder: what the model is, as metadata of a GGUF file, and how its tensors are
// named and stored there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "gguf/writer.h"

namespace runnel::hf {

// How a tensor's rows change on the way into a GGUF file.
enum class Change {
  kNone,
  kPairs,         // of each head: from two halves to pairs side by side (Llama's q and k)
  kThreeOfHeads,  // q, k, v of each head become q of all, k of all, v of all (GPT-NeoX)
  kGroups,        // the same of groups of heads with a k and a v each (Falcon)
  kAddOne,        // a norm that is stored without its 1 (Gemma)
};

struct TensorRule {
  std::string from;
  std::string to;
  Change change = Change::kNone;
  bool is_optional = false;
};

struct ModelConfig {
  std::string architecture;  // general.architecture
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int vocabulary_size = 0;
  bool is_tied = false;
  std::vector<float> rope_factors;  // of frequencies (Llama 3); empty: none
};

// Adds the metadata to the header. Error: a kind of model that this library does not run, or
// settings that it does not have.
ModelConfig read_config(const std::filesystem::path& folder, gguf::Header& header);

// The tensors of such a model, by both names.
std::vector<TensorRule> tensor_rules(const ModelConfig& config);

}  // namespace runnel::hf
