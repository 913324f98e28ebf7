// Small models of random weights for tests, in memory.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/make_model.h"
#include "support/decoder_fixture.h"
#include "support/parameters.h"

namespace runnel::test {

inline constexpr std::uint64_t kMadeSeed = 7;

inline MadeModel make(const ModelShape& shape, std::string_view type = "f32") {
  return make_model(shape, StorageType::parse(type), kMadeSeed);
}

inline gguf::File parse(const MadeModel& model) {
  return gguf::File::parse(model.bytes(), "made model");
}

// n tokens of a vocabulary, the same ones every time.
inline std::vector<Token> some_tokens(std::size_t n, int vocabulary_size) {
  std::vector<Token> tokens;
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(
        static_cast<Token>((state >> 8) % static_cast<std::uint32_t>(vocabulary_size)));
  }
  return tokens;
}

// "tiny" of each architecture.
inline std::vector<ModelShape> tiny_shapes() {
  std::vector<ModelShape> shapes;
  for (const ModelShape& shape : model_shapes()) {
    if (shape.name == "tiny") shapes.push_back(shape);
  }
  return shapes;
}

// The other kind of Gemma 4: experts, no values but keys, all layers with keys, no layer inputs.
inline void make_gemma4_experts(ModelShape& shape) {
  shape.n_experts = 8;
  shape.n_experts_used = 3;
  shape.dense_ffn_dim = 96;
  shape.ffn_dim = 48;
  shape.values_are_keys = true;
  shape.layer_input_dim = shape.n_shared_layers = 0;
  shape.widens_shared = false;
}

}  // namespace runnel::test
