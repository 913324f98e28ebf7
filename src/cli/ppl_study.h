// The part of `runnel ppl` that compares several policies, keeps its results in a folder, and goes
// on where it was stopped.
#pragma once

#include <string>
#include <vector>

#include "eval/perplexity.h"
#include "runnel/runnel.h"

namespace runnel::cli {

struct PplStudy {
  eval::PerplexityOptions options;
  std::string folder;  // empty: results on standard output only, and nothing to resume
  bool is_json = false;
};

void run_ppl_study(const Model& model, const std::vector<Token>& tokens, PplStudy study);

}  // namespace runnel::cli
