// The perplexity experiment in numbers, a picture and words.
#pragma once

#include <filesystem>
#include <span>

#include "eval/perplexity.h"
#include "eval/section.h"

namespace runnel::eval {

// Writes perplexity.{csv,json,svg,png}, the curves perplexity-curves.csv and for each policy
// perplexity-POLICY.npy with one value a token into `folder` (no files when it is empty).
Section perplexity_section(const Model& model, const PerplexityRun& run, bool is_complete,
                           const std::filesystem::path& folder);

}  // namespace runnel::eval
