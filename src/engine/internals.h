// What a Model holds. Streams borrow it; the other parts of the library that work on a model
// (evaluation, the command line's `info`) reach it through Model::internals().
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "device/device.h"
#include "engine/fingerprint.h"
#include "engine/packed_cache.h"
#include "gguf/file.h"
#include "model/config.h"
#include "model/decoder.h"
#include "model/make_model.h"
#include "model/weights.h"
#include "runnel/runnel.h"
#include "stream/kv_cache.h"
#include "tokenizer/tokenizer.h"

namespace runnel {

struct Model::Internals {
  MadeModel made;  // the bytes of `file`, where the model has them to itself
  gguf::File file;
  std::string name;
  Fingerprint fingerprint{};             // of the file as it was loaded; of no use without weights
  std::unique_ptr<Tokenizer> tokenizer;  // null for a file without a vocabulary
  Config config;                         // empty when only the vocabulary was loaded
  Weights weights;
  std::unique_ptr<PackedCache> packed_cache;  // what `weights` may point into
  std::unique_ptr<ThreadPool> threads;
  std::unique_ptr<Device> cpu;
  std::unique_ptr<Device> device;  // null: the processor runs all layers
  std::vector<Stage> stages;
  // One step at a time: whoever computes holds the mutex and asks for a decoder of at least so many
  // tokens.
  mutable std::mutex mutex;
  mutable std::unique_ptr<Decoder> decoder;
  // Of the first stream whose cache is rotated, and those after it.
  mutable std::once_flag has_balances;
  mutable std::vector<std::vector<float>> balances;

  static std::unique_ptr<Internals> load(gguf::File opened, std::string fallback_name,
                                         const ModelOptions& options, MadeModel made = {});
  // The weights of `file`, packed, and who computes with them.
  void take_weights(const ModelOptions& options);
  // A made model in memory, which is given back as the weights are packed.
  static Model take(MadeModel made, std::string name, const ModelOptions& options);
  // What Model::resume() does with a file that was read already; `name`: of the file, for errors.
  static Stream resume(const Model& model, Snapshot snapshot, const std::string& name);
  Decoder& decoder_for(int n_tokens) const;
  // Where a stream's logits stay: with who makes them.
  std::unique_ptr<LogitsRow> logits_row() const {
    return stages.back().device->logits_row(config.vocabulary_size);
  }
  // key_balances() of the model.
  std::span<const std::vector<float>> key_balances() const;
  // Chooses who runs which layers. Error: no such device.
  void choose_devices(const ModelOptions& options);
  bool has_weights() const { return !weights.layers.empty(); }
  // Error when the file has no vocabulary.
  const Tokenizer& vocabulary() const;
};

// The sizes of the cache that a stream with these resolved options needs, and where it lies.
CacheShape cache_shape(const Model::Internals& internals, const StreamOptions& resolved);
// Such a cache. The model's first rotated one reads its weights, for key_balances().
KvCache take_cache(const Model::Internals& internals, CacheShape shape);
// Fills in the windows of all layers, and the largest as the stream's.
void resolve_layer_windows(const Config& config, StreamOptions& options);
// S and W of resolved options; of several windows the largest.
CachePolicy cache_policy(const StreamOptions& resolved);

}  // namespace runnel
