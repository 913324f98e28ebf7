// The weights of a decoder by name: matrices stay in the mapped file as stored, vectors are copied
// to floats. Which optional weights are present decides what the decoder does with a layer; shapes
// are checked here, once. Names: GGUF specification, section "standardized tensor names".
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/large_pages.h"
#include "base/thread_pool.h"
#include "device/device.h"
#include "device/weights.h"
#include "gguf/file.h"
#include "model/config.h"

namespace runnel {

struct LayerWeights {
  NormWeights attention_norm;  // absent: attention takes the residual stream itself
  Linear q, k, v, output;      // v absent: values are the keys; both absent: another layer's
  NormWeights q_norm, k_norm;  // over each head: [head_dim], or over all: [q_dim] and [kv_dim]
  Vector rotated_weights;      // [head_dim]: of both, where they follow the rotation; else absent
  Vector sink_logits;          // [n_heads]: learned, one a head (gpt-oss)
  NormWeights attention_post_norm;
  // Absent in a parallel layer: the ffn takes what attention takes; else: the residual stream.
  NormWeights ffn_norm;  // of the experts, where a dense ffn stands beside them
  FeedForward ffn;       // absent where there are experts alone
  Linear router;         // [n_experts, dim]
  Vector router_bias;    // [n_experts]: of the choice alone, not of the shares
  std::vector<FeedForward> experts;
  FeedForward shared;  // the expert that every token takes; absent: none
  Linear shared_gate;  // [1, dim]
  DeltaNetWeights delta_net;
  ShortConvWeights short_conv;
  NormWeights ffn_post_norm;
  DenseBeside beside;
  LayerInput input;
  NormWeights input_post_norm;
  float output_scale = 1;  // of the residual stream behind the layer
};

// What becomes of the stored weights that are read no more, but as packed.
enum class StoredPages {
  kStay,
  kComeBack,  // dropped from memory: a mapped file gives them again
  kGo,        // dropped for good
};

struct Weights {
  Matrix embeddings;  // [vocabulary, dim]
  LayerInputWeights layer_inputs;
  std::vector<LayerWeights> layers;
  NormWeights output_norm;
  Linear output;          // [vocabulary, dim]; the embeddings where tied
  std::size_t bytes = 0;  // stored bytes of all of them
  StoredPages stored = StoredPages::kStay;
  LargePages packed;               // what place_weights() packed
  std::size_t released_bytes = 0;  // stored bytes that are read no more, but as packed
};

// Views into the file, which must outlive them. Error: a tensor that is missing, of the wrong
// shape, or one that this architecture does not use (reading such a file anyway would run a
// different model).
Weights load_weights(const gguf::File& file, const Config& config);

// Told after each matrix; may throw, which ends the placing.
using PackingProgress = std::function<void(std::size_t done_bytes, std::size_t all_bytes)>;
// For layers that the processor runs, rearranges every matrix that the kernels have a form of their
// own for (Table::pack), reading each once, and gives back the memory of what was stored, as
// weights.stored says. Afterwards products with these matrices take inputs in forms of their own
// (Table::wanted_inputs). A device with memory of its own takes the matrices of its layers. Error:
// not so much memory there.
void place_weights(Weights& weights, ThreadPool& threads, std::span<const Stage> stages,
                   const PackingProgress& progress = {});

// Tables of which rows were looked up leave memory until they are wanted again, where a mapped file
// gives them again and no product reads them from there: a row makes many pages beside its own
// stay.
void release_looked_up(const Weights& weights);

// Bytes that the first n layers' matrices (with all of them, the output's too) take on a device.
std::uint64_t device_bytes(Weights& weights, const Device& device, int n_layers);

// Every matrix that the kernels have a form of their own for, in the order of place_weights().
struct PackedMatrix {
  Matrix* matrix;
  std::size_t n_bytes;  // packed
};
std::vector<PackedMatrix> packed_matrices(Weights& weights);
// Instead of packing: `packed`, 64-byte aligned, was packed before and outlives the weights.
void use_packed(Matrix& matrix, const std::byte* packed, Weights& weights);

}  // namespace runnel
