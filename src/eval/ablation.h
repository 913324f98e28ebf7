// Tables of perplexity where one thing changes (the paper's tables 1, 2, 3 and 6): the number of
// sinks, the window, what the first tokens are, the softmax, the type of the cache, and which layer
// has a short window.
//
// Every row measures the same tokens: those after the largest cache of the table is full, so that
// what comes before eviction does not dilute the differences. Errors are from the means of blocks
// of neighbouring tokens; differences to the first row are paired, token by token, which makes
// their errors much smaller.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eval/progress.h"
#include "eval/section.h"
#include "eval/statistics.h"
#include "runnel/runnel.h"

namespace runnel::eval {

struct AblationRow {
  std::string label;  // "4 + 1020"
  StreamOptions options;
  std::vector<Token> first_tokens;  // stand in for the stream's own first tokens; empty: none do
};

struct Ablation {
  std::string name;  // "sinks"
  std::string title;
  std::string about;
  std::string first_column;  // what the labels are: "sinks + window"
  std::vector<AblationRow> rows;
};

struct AblationResult {
  AblationRow row;      // with resolved options
  Estimate nll;         // per token
  Estimate difference;  // of the mean NLL to the first row's
  std::size_t cache_bytes = 0;
  double seconds = 0;
};

// `cache` tokens in all (0: the model's default). kinds: "sinks", "window", "linebreak", "softmax",
// "kv-type", "layers"; of the last, `short_window` is what one layer after the other has (0: an
// eighth). Error: another kind, or a cache too small for it.
Ablation make_ablation(const Model& model, const std::string& kind, const StreamOptions& base,
                       std::int64_t cache, std::int64_t short_window = 0);
const std::vector<std::string>& ablation_kinds();

// Stops between rows when told to, with the rows measured so far. Error: fewer tokens than the
// largest cache and some to measure.
std::vector<AblationResult> run_ablation(const Model& model, const Ablation& ablation,
                                         std::span<const Token> tokens, const Progress& progress);

// Writes ablation-NAME.{csv,json,svg,png} into `folder` (no files when it is empty).
Section ablation_section(const Model& model, const Ablation& ablation,
                         const std::vector<AblationResult>& results,
                         const std::filesystem::path& folder);

}  // namespace runnel::eval
