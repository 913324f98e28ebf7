// A model file with its decoder, for tests below the public interface.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "gguf/file.h"
#include "model/architecture.h"
#include "model/cache_layers.h"
#include "model/decoder.h"
#include "model/key_balance.h"
#include "model/weights.h"
#include "stream/kv_cache.h"
#include "support/numbers.h"

namespace runnel::test {

inline std::vector<float> read_floats(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<float> floats(std::filesystem::file_size(path) / sizeof(float));
  in.read(reinterpret_cast<char*>(floats.data()),
          static_cast<std::streamsize>(floats.size() * sizeof(float)));
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return floats;
}

// -log softmax(logits)[token], in double.
inline double nll_of(std::span<const float> logits, Token token) {
  const double maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - maximum);
  return maximum + std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

class LoadedDecoder {
 public:
  explicit LoadedDecoder(const std::filesystem::path& path, int threads = 1, int max_tokens = 512)
      : LoadedDecoder(gguf::File::open(path), threads, max_tokens) {}
  explicit LoadedDecoder(gguf::File file, int threads = 1, int max_tokens = 512)
      : file_(std::move(file)),
        config_(read_config(file_)),
        weights_(load_weights(file_, config_)),
        balances_(key_balances(config_, weights_)),
        threads_(threads),
        device_(make_cpu_device(threads_)),
        stages_{{device_.get(), config_.n_layers}},
        decoder_(config_, weights_, threads_, stages_, max_tokens) {}

  // From here on as Model::load() leaves it: quantised weights packed for the integer kernels.
  void pack() { place_weights(weights_, threads_, stages_); }
  const Config& config() const { return config_; }
  const Weights& weights() const { return weights_; }
  Decoder& decoder() { return decoder_; }

  CacheShape shape(const CachePolicy& policy, KvType type, int chunk) const {
    CacheShape shape = {.type = type, .chunk = chunk};
    if (policy.window < kUnbounded) shape.context = policy.sinks + policy.window + 1;
    shape_layers(config_, policy, shape);
    return shape;
  }
  KvCache cache(const CachePolicy& policy, KvType type, int chunk) const {
    return KvCache(shape(policy, type, chunk));
  }
  KvCache rotated_cache(const CachePolicy& policy, KvType type, int chunk) const {
    CacheShape rotated = shape(policy, type, chunk);
    rotated.is_rotated = true;
    rotated.balances = balances_;
    return KvCache(std::move(rotated));
  }
  // A window for each layer.
  KvCache cache(int sinks, std::span<const std::int64_t> windows, KvType type, int chunk) const {
    const CachePolicy longest = {sinks, *std::max_element(windows.begin(), windows.end())};
    std::vector<std::int64_t> of_keys;
    for (int layer = 0; layer < config_.n_layers; ++layer)
      if (config_.has_keys(layer)) of_keys.push_back(windows[static_cast<std::size_t>(layer)]);
    CacheShape shape = {.type = type, .chunk = chunk};
    shape.context = longest.sinks + longest.window + 1;
    shape_layers(config_, longest, shape, of_keys);
    return KvCache(std::move(shape));
  }

  // Feeds tokens in chunks; calls visit(index, logits) for each.
  template <typename Visit>
  void feed(KvCache& cache, std::span<const Token> tokens, int chunk, Softmax softmax,
            Visit visit) {
    for (std::size_t first = 0; first < tokens.size(); first += static_cast<std::size_t>(chunk)) {
      const std::size_t n = std::min(tokens.size() - first, static_cast<std::size_t>(chunk));
      const Segment segment = {&cache, tokens.subspan(first, n), softmax, Segment::Logits::kAll};
      decoder_.step({&segment, 1},
                    [&](std::size_t, std::size_t token, std::span<const float> logits) {
                      visit(first + token, logits);
                    });
    }
  }

  std::vector<float> all_logits(KvCache& cache, std::span<const Token> tokens, int chunk,
                                Softmax softmax = Softmax::kStandard) {
    std::vector<float> all;
    feed(cache, tokens, chunk, softmax, [&](std::size_t, std::span<const float> logits) {
      all.insert(all.end(), logits.begin(), logits.end());
    });
    return all;
  }

  std::vector<float> nll(KvCache& cache, std::span<const Token> tokens, int chunk,
                         Softmax softmax = Softmax::kStandard) {
    std::vector<float> values;
    feed(cache, tokens, chunk, softmax, [&](std::size_t i, std::span<const float> logits) {
      if (i + 1 < tokens.size())
        values.push_back(static_cast<float>(nll_of(logits, tokens[i + 1])));
    });
    return values;
  }

 private:
  gguf::File file_;
  Config config_;
  Weights weights_;
  std::vector<std::vector<float>> balances_;
  ThreadPool threads_;
  std::unique_ptr<Device> device_;
  std::vector<Stage> stages_;
  Decoder decoder_;
};

}  // namespace runnel::test
