// Models of random weights in the shape of real ones: files for tests, and for measuring the speed
// of a model before downloading it. What such a model says is noise; everything else about it, from
// its metadata to the bytes that a token reads, is as in the real file.
//
// A shape is a row of a table (model_shapes.cpp); the list of tensors follows from it and from its
// architecture (tensor_plan.cpp). Values come block by block from a generator seeded by the
// tensor's name, so a file is the same wherever and however it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/large_pages.h"
#include "base/tensor_type.h"
#include "device/terms.h"
#include "model/rope.h"

namespace runnel {

// The sizes and choices of a model.
struct ModelShape {
  std::string_view name;          // "llama-2-7b"
  std::string_view architecture;  // "llama"
  int dim = 0;
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int ffn_dim = 0;          // of one expert, where there are experts
  int vocabulary_size = 0;  // at least 259: three control tokens and the bytes
  int trained_context = 0;

  bool is_tied = false;  // embeddings are the output matrix
  double rope_base = 10000;
  int rope_dims = 0;  // rotated dimensions of a head; 0: all
  RopeScaling scaling = {};
  int local_window = 0;  // tokens that local layers see; 0: none are local
  int n_experts = 0;
  int n_experts_used = 0;
  float max_alibi_bias = 8;      // mpt
  float qkv_clamp = 0;           // mpt
  bool has_second_norm = false;  // falcon
  bool is_parallel = true;       // gptneox
  bool has_biases = false;       // llama: on q, k, v and the output projection
  int shared_ffn_dim = 0;        // of the expert that every token takes; 0: none
  bool has_long_rope = false;    // factors of frequencies for short and for long contexts
  // granite, minicpm; 0: not in the file
  float embedding_scale = 0;
  float residual_scale = 0;
  float attention_scale = 0;
  float logit_scale = 0;
  float temperature_scale = 0;  // mistral3: of queries
  // Layers that are no attention: all but every attention_period-th; 0: none.
  int attention_period = 0;
  DeltaNet delta_net = {};
  int short_conv_width = 0;
  // gemma4
  int local_head_dim = 0;        // of local layers; 0: as head_dim
  int local_kv_heads = 0;        // of local layers; 0: as n_kv_heads
  int local_period = 0;          // every local_period-th layer is not local
  bool values_are_keys = false;  // in layers that are not local
  int layer_input_dim = 0;       // of what tokens have for each layer; 0: nothing
  int n_shared_layers = 0;       // the last ones, without keys and values of their own
  bool widens_shared = false;    // their ffns are twice as wide
  int n_dense_layers = 0;        // lfm2moe: the first ones, without experts
  int dense_ffn_dim = 0;
};

// Every named shape; "tiny" is there for each architecture.
std::span<const ModelShape> model_shapes();

// `architecture` may be empty where the name says it ("falcon-7b"). Error: no such shape, with the
// list of shapes.
const ModelShape& find_shape(std::string_view name, std::string_view architecture);

// How the matrices of a made model are stored: a tensor type ("q4_0", "f16"), or a usual mix of
// them
// ("q4_k_m", "q5_k_m"). As the usual tools do, norms and biases stay F32, the output matrix gets
// Q6_K at least, and rows that are no whole number of a type's blocks take the next type with
// smaller blocks.
class StorageType {
 public:
  // Error: no such type, with the list of types. Case does not matter.
  static StorageType parse(std::string_view name);

  enum class Role { kMatrix, kEmbeddings, kOutput, kQkv, kValue, kFfnDown, kExperts };
  // The type of a matrix of a layer (of n_layers) whose rows have `cols` elements.
  TensorType type_of(Role role, int layer, const ModelShape& shape, std::int64_t cols) const;

 private:
  TensorType plain_ = TensorType::kF32;
  bool is_mix_ = false;
};

// Writes the file, one piece of a tensor after the other.
void make_model(const ModelShape& shape, StorageType type, std::uint64_t seed,
                const std::filesystem::path& out);

// The same file in memory, for gguf::File::parse.
struct MadeModel {
  PageBuffer data;
  std::size_t n_bytes = 0;
  std::span<const std::byte> bytes() const { return {data.get(), n_bytes}; }
};
MadeModel make_model(const ModelShape& shape, StorageType type, std::uint64_t seed);

}  // namespace runnel
