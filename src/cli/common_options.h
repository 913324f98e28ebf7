// The options that several subcommands share: the model, the stream's cache, the sampling.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runnel/runnel.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace runnel::cli {

// MODEL, --threads, --device, --gpu-layers and --gpu-memory.
class ModelArguments {
 public:
  void add_to(CLI::App& app);
  void add_file_to(CLI::App& app);  // MODEL alone
  Model load() const;
  bool is_given() const { return !given_.empty(); }
  // The file, as model_file() finds it.
  std::string path() const;
  int threads() const { return threads_; }
  // What load() loads with.
  ModelOptions options() const;

 private:
  std::string given_;
  int threads_ = 0;
  bool is_exact_ = false;
  std::string packed_cache_;
  std::string device_ = "cpu";
  std::string gpu_layers_ = "auto";
  std::uint64_t gpu_memory_ = 0;
};

// --policy, --sinks, --window (or -c), --kv-type, --kv-rotate, --chunk, --softmax; with pinning
// also
// --pin and
// --pin-file.
class StreamArguments {
 public:
  void add_to(CLI::App& app, const char* default_policy = "sink");
  // The same with several policies: a list between commas, or "all".
  void add_several_to(CLI::App& app);
  void add_pin_to(CLI::App& app);
  void add_draft_to(CLI::App& app);  // for subcommands that write
  // The policies named, in the order of the list; valid after parsing.
  std::vector<Policy> policies() const;
  // What the user gave, over the library's defaults. Error: the pin file cannot be read.
  StreamOptions options() const;
  // All of them, for an option that excludes them (a saved stream keeps its own).
  const std::vector<CLI::Option*>& all() const { return all_; }

 private:
  void add_cache_to(CLI::App& app);
  std::int64_t window_of_cache(Policy policy) const;

  std::string policy_ = "sink";
  int sinks_ = StreamOptions{}.sinks;
  std::string window_;                 // empty: the default
  std::optional<std::int64_t> cache_;  // sinks and window
  std::string kv_type_ = "f16";
  std::string kv_rotate_;  // empty: the type's
  int chunk_ = StreamOptions{}.chunk;
  std::string softmax_;  // empty: the model's
  int draft_ = 0;
  std::string pin_;
  std::string pin_file_;
  std::vector<CLI::Option*> all_;
};

// --temperature and its relatives. Each is optional, so that a resumed stream keeps what is not
// given.
class SamplingArguments {
 public:
  void add_to(CLI::App& app);
  bool any_given() const;
  SamplingOptions over(SamplingOptions base) const;

 private:
  std::optional<float> temperature_;
  std::optional<int> top_k_;
  std::optional<float> top_p_;
  std::optional<float> min_p_;
  std::optional<float> repetition_penalty_;
  std::optional<float> frequency_penalty_;
  std::optional<float> presence_penalty_;
  std::optional<std::uint64_t> seed_;
};

// "2,043", or "2048,256x5": the pattern of the layers' windows.
std::string window_text(const StreamOptions& resolved);

}  // namespace runnel::cli
