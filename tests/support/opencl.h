// Tests on the first OpenCL device, whatever it is: PoCL runs the kernels on the processor.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "device/opencl/program_cache.h"
#include "support/decoder_fixture.h"

#define RUNNEL_NEED_OPENCL() \
  if (std::string reason; runnel::list_opencl_devices(&reason).empty()) GTEST_SKIP() << reason

namespace runnel::test {

// A decoder whose first layers run on the OpenCL device.
class OpenClDecoder {
 public:
  // `n_layers` on the device; -1: all.
  explicit OpenClDecoder(gguf::File file, int n_layers = -1, int max_tokens = 64)
      : file_(std::move(file)),
        config_(read_config(file_)),
        weights_(load_weights(file_, config_)),
        threads_(1),
        cpu_(make_cpu_device(threads_)),
        opencl_(make_opencl_device(0)) {
    if (n_layers < 0) n_layers = config_.n_layers;
    stages_.push_back({opencl_.get(), n_layers});
    if (n_layers < config_.n_layers) stages_.push_back({cpu_.get(), config_.n_layers - n_layers});
    place_weights(weights_, threads_, stages_);
    decoder_ = std::make_unique<Decoder>(config_, weights_, threads_, stages_, max_tokens);
  }

  Decoder& decoder() { return *decoder_; }
  Device& device() { return *opencl_; }
  const Config& config() const { return config_; }
  KvCache cache(const CachePolicy& policy, KvType type, int chunk) const {
    CacheShape shape = {.type = type, .chunk = chunk};
    shape_layers(config_, policy, shape);
    for (const Stage& stage : stages_) {
      shape.sources.insert(shape.sources.end(), static_cast<std::size_t>(stage.n_layers),
                           stage.device->cache_memory());
    }
    return KvCache(shape);
  }

  std::vector<float> logits(KvCache& cache, std::span<const Token> tokens, int chunk,
                            Softmax softmax = Softmax::kStandard) {
    std::vector<float> all;
    for (std::size_t first = 0; first < tokens.size(); first += static_cast<std::size_t>(chunk)) {
      const std::size_t n = std::min(tokens.size() - first, static_cast<std::size_t>(chunk));
      const Segment segment = {&cache, tokens.subspan(first, n), softmax, Segment::Logits::kAll};
      decoder_->step({&segment, 1}, [&](std::size_t, std::size_t, std::span<const float> logits) {
        all.insert(all.end(), logits.begin(), logits.end());
      });
    }
    return all;
  }

 private:
  gguf::File file_;
  Config config_;
  Weights weights_;
  ThreadPool threads_;
  std::unique_ptr<Device> cpu_, opencl_;
  std::vector<Stage> stages_;
  std::unique_ptr<Decoder> decoder_;
};

// The file of what was fastest on the device, as long as this lives; then it is what it was.
class TunedSizes {
 public:
  TunedSizes() {
    for (const auto& entry : std::filesystem::directory_iterator(opencl::cache_folder())) {
      if (entry.path().extension() == ".tuned") path_ = entry.path();
    }
    std::ifstream in(path_);
    before_.assign(std::istreambuf_iterator<char>(in), {});
  }
  ~TunedSizes() { std::ofstream(path_) << before_; }

  std::map<std::string, std::size_t> all() const {
    std::map<std::string, std::size_t> sizes;
    std::istringstream in(before_);
    std::string key;
    for (std::size_t size = 0; in >> key >> size;) sizes[key] = size;
    return sizes;
  }
  // Of all keys that begin so; for devices that are opened from now on.
  void force(const std::string& prefix, std::size_t size) const {
    std::ofstream out(path_);
    for (const auto& [key, fastest] : all())
      out << key << ' ' << (key.starts_with(prefix) ? size : fastest) << '\n';
  }

 private:
  std::filesystem::path path_;
  std::string before_;
};

}  // namespace runnel::test
