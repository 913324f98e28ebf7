#include "cli/ppl_study.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "cli/files.h"
#include "cli/lab.h"
#include "eval/perplexity_section.h"

namespace runnel::cli {

void run_ppl_study(const Model& model, const std::vector<Token>& tokens, PplStudy study) {
  if (tokens.size() < 2) throw Error("ppl: want at least two tokens to predict one");
  const std::filesystem::path state =
      study.folder.empty() ? "" : std::filesystem::path(study.folder) / "perplexity-state";
  study.options.state = state;
  LabProgress progress;
  eval::PerplexityRun run(model, tokens, std::move(study.options));
  if (run.position() > 0)
    fmt::print(stderr, "runnel: going on at token {}\n", grouped(run.position()));
  const bool is_complete = run.run(progress.callback("perplexity"));
  progress.finish();
  const eval::Section section = eval::perplexity_section(model, run, is_complete, study.folder);
  print_out(study.is_json ? eval::section_json(section) : eval::section_text(section));
  if (study.folder.empty()) return;
  if (is_complete) std::filesystem::remove_all(state);
  fmt::print(stderr, "{}",
             dim(fmt::format("results in {}{}\n", study.folder,
                             is_complete ? "" : "; the same command goes on from here")));
}

}  // namespace runnel::cli
