// Time and memory of one more token (the paper's figure 10): a full cache of sinks and window
// against recomputation of the same window, and against a dense cache that has kept everything.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "eval/progress.h"
#include "eval/section.h"
#include "runnel/runnel.h"

namespace runnel::eval {

struct LatencyOptions {
  std::vector<std::int64_t> windows = {64, 128, 256, 512};
  int tokens = 32;                // timed for sink and dense
  int recomputed_tokens = 5;      // timed for recompute
  std::int64_t dense_factor = 8;  // the dense cache holds so many windows
  StreamOptions stream;
};

struct LatencyRow {
  std::int64_t window = 0;
  std::int64_t dense_tokens = 0;
  double sink_seconds = 0;  // medians, of one token
  double recompute_seconds = 0;
  double dense_seconds = 0;
  std::size_t sink_bytes = 0;
  std::size_t recompute_bytes = 0;
  std::size_t dense_bytes = 0;

  double ratio() const { return recompute_seconds / sink_seconds; }
};

// Stopped, it returns the windows that are done. Tokens are taken from `tokens` over and over.
std::vector<LatencyRow> run_latency(const Model& model, std::span<const Token> tokens,
                                    const LatencyOptions& options, const Progress& progress);

// Writes latency.{csv,json,svg,png} into `folder` (no files when it is empty).
Section latency_section(const Model& model, const LatencyOptions& options,
                        const std::vector<LatencyRow>& rows, const std::filesystem::path& folder);

}  // namespace runnel::eval
