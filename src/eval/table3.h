// The paper's table 3 (section 3.3): models of one shape, trained alike but for what softmax can
// rest on, are streamed past their window with 0, 1, 2 and 4 sinks. A model that was given one
// dedicated token needs it and no other; one with a zero sink, or with no reason to rest on a first
// token, misses nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/ablation.h"
#include "eval/progress.h"
#include "eval/section.h"
#include "runnel/runnel.h"

namespace runnel::eval {

enum class Variant { kVanilla, kZero, kSink };
inline constexpr Variant kVariants[] = {Variant::kVanilla, Variant::kZero, Variant::kSink};
std::string variant_name(Variant variant);  // "vanilla", as in the names of files

struct Table3Options {
  std::vector<std::int64_t> caches;  // sinks and window in all; empty: about the trained context,
                                     // its half and its quarter
  KvType kv_type = KvType::kF16;
  int attention_texts = 32;
  int attention_length = 256;  // tokens of each; no more than the trained context
};

struct VariantResult {
  Variant variant;
  std::string model;
  std::int64_t n_tokens = 0;
  std::vector<std::int64_t> caches;
  std::vector<std::vector<AblationResult>> by_cache;  // of 0, 1, 2 and 4 sinks
  // By layer, of queries in a text's second half: attention on the first token, and on nothing (the
  // zero sink).
  std::vector<double> first_token;
  std::vector<double> nothing;
  double even_share = 0;  // of the first token, if all were looked at alike
};

// Uses the variant's own softmax, whether or not the file names it. Stops when told to, with the
// caches done so far. Error: a text too short for the largest cache, or without sentences for the
// study of attention.
VariantResult run_variant(const Model& model, Variant variant, std::string_view text,
                          std::span<const Token> tokens, const Table3Options& options,
                          const Progress& progress);

// The perplexities beside the paper's, and the attention by layer. Files table3.{csv,json} and
// table3-attention.{csv,json} in `folder` (none when it is empty).
Section table3_section(const std::vector<VariantResult>& results,
                       const std::filesystem::path& folder);
Section table3_attention_section(const std::vector<VariantResult>& results,
                                 const std::filesystem::path& folder);

}  // namespace runnel::eval
