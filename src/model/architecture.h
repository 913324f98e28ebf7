// The register of architectures, and what their files share. To add one: write
// src/model/arch/NAME.cpp and its line in architecture.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "model/config.h"

namespace runnel {

struct Architecture {
  std::string_view name;    // general.architecture
  std::string_view models;  // for people: "Llama 1-3, Mistral, TinyLlama"
  Config (*read)(const gguf::File& file);
};

std::span<const Architecture> architectures();

// The Config of a file. Error: an unsupported architecture (with the list of supported ones), or
// metadata that is missing, of another kind or out of range.
Config read_config(const gguf::File& file);

// Metadata of one architecture: keys without their "llama." prefix.
class Metadata {
 public:
  explicit Metadata(const gguf::File& file);

  const gguf::File& file() const { return *file_; }
  int count(std::string_view key) const;  // required, 1 to 2^31 - 1
  int count(std::string_view key, int fallback) const;
  // One for each of n layers, 0 to 2^31 - 1: a list, or a number for all.
  std::vector<int> counts(std::string_view key, int n) const;
  float number(std::string_view key) const;
  float number(std::string_view key, double fallback) const;
  bool flag(std::string_view key, bool fallback) const;
  std::string_view text(std::string_view key, std::string_view fallback) const;

 private:
  std::string full(std::string_view key) const;
  const gguf::File* file_;
  std::string prefix_;
};

// Everything that has the same key in all architectures: sizes, head counts, vocabulary, context.
// Heads that do not divide are an Error, and counts of KV heads or sizes of ffns that differ by
// layer, unless they may: then the Config has the largest.
enum class ByLayer { kEqual, kMayDiffer };
Config read_common(const Metadata& metadata, ByLayer counts = ByLayer::kEqual);
// Where a file has experts: their number, how many a token takes, the size of one.
void read_experts(const Metadata& metadata, Config& config);
// Rotary parameters (rope.dimension_count, rope.freq_base, rope.scaling.*, the tensor
// rope_freqs.weight).
Rope read_rope(const Metadata& metadata, const Config& config, RopeStyle style,
               double default_base = 10000);
// LongRoPE: `rope` gets the factors of short contexts, `long_rope` those of long ones. Without the
// tensors rope_factors_long/short nothing changes.
void read_long_rope(const Metadata& metadata, Config& config);
// Layer l is local unless (l + 1) is a multiple of `period`.
std::vector<int> alternate_local(int n_layers, int window, int period);
// What a file that names a window says of its layers: which are local (a list), or that all are.
// Empty: no window, or one as large as the trained context, which says nothing.
std::vector<int> read_local_windows(const Metadata& metadata, const Config& config);

// Each in src/model/arch.
namespace arch {
Config exaone4(const gguf::File& file);
Config falcon(const gguf::File& file);
Config gemma(const gguf::File& file);
Config gemma2(const gguf::File& file);
Config gemma3(const gguf::File& file);
Config gemma4(const gguf::File& file);
Config glm4(const gguf::File& file);
Config gpt_oss(const gguf::File& file);
Config gptneox(const gguf::File& file);
Config granite(const gguf::File& file);
Config hunyuan_dense(const gguf::File& file);
Config lfm2(const gguf::File& file);
Config llama(const gguf::File& file);
Config minicpm(const gguf::File& file);
Config mistral3(const gguf::File& file);
Config mpt(const gguf::File& file);
Config olmo2(const gguf::File& file);
Config phi3(const gguf::File& file);
Config qwen2(const gguf::File& file);
Config qwen3(const gguf::File& file);
Config qwen35(const gguf::File& file);
Config seed_oss(const gguf::File& file);
Config smollm3(const gguf::File& file);
Config starcoder2(const gguf::File& file);
}  // namespace arch

}  // namespace runnel
