// runnel ablate: one thing changes, and perplexity says what it is worth.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/lab.h"
#include "cli/validators.h"
#include "eval/ablation.h"

namespace runnel::cli {
namespace {

constexpr const char* kAblateExamples = R"(Examples:
  runnel ablate sinks model.gguf book.txt --limit 50000 -o results   S = 0, 1, 2, 4, 8 at equal cache
  runnel ablate window model.gguf book.txt --cache 1024               256 ... 4096
  runnel ablate linebreak model.gguf book.txt                         meaning or position?
  runnel ablate softmax model.gguf book.txt                           standard, off-by-one
  runnel ablate kv-type model.gguf book.txt                           f32, f16, bf16, q8_0, q4_0
  runnel ablate --layers model.gguf book.txt --cache 1024 --short 128  which layers need the long window

Every row measures the same tokens, those after the largest cache is full; ± is the standard error.)";

class Ablate final : public Command {
 public:
  explicit Ablate(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  void check_usage() const;

  CLI::App* app_;
  std::string kind_;
  ModelArguments model_;
  LabArguments lab_;
  CacheArguments cache_arguments_;
  std::int64_t cache_ = 0;
  std::int64_t short_ = 0;
};

Ablate::Ablate(CLI::App& program)
    : app_(program.add_subcommand("ablate",
                                  "What sinks, window, first tokens, softmax, cache are worth")) {
  app_->footer(kAblateExamples);
  app_->add_option("WHAT", kind_, "What changes from row to row")
      ->required()
      ->type_name("sinks|window|linebreak|softmax|kv-type|layers")
      ->check(CLI::IsMember(eval::ablation_kinds()).description(""));
  model_.add_to(*app_);
  lab_.add_to(*app_, 20000);
  app_->add_option("--cache", cache_,
                   "Tokens of the cache in all, of the middle row for `window` (default: what the "
                   "trained context holds)")
      ->type_name("TOKENS")
      ->check(whole_within(16, 1 << 24));
  app_->add_option("--short", short_, "Of `layers`: the short window (default: an eighth)")
      ->type_name("TOKENS")
      ->check(whole_within(1, 1 << 24));
  cache_arguments_.add_to(*app_, "Instead of --cache: the window beside the sinks");
  app_->get_option("--window")->excludes(app_->get_option("--cache"));
  app_->callback([this] { check_usage(); });
}

// What the rows vary cannot be chosen for all of them.
void Ablate::check_usage() const {
  for (const std::string varied : {"softmax", "kv-type"}) {
    if (kind_ == varied && app_->count("--" + varied) > 0)
      throw CLI::ValidationError("--" + varied, "it changes from row to row");
  }
  if (short_ > 0 && kind_ != "layers")
    throw CLI::ValidationError("--short", "want WHAT layers, found " + kind_);
  const bool has_own_sinks = kind_ == "sinks" || kind_ == "linebreak";
  if (has_own_sinks && app_->count("--sinks") > 0 && app_->count("--window") == 0)
    throw CLI::ValidationError("--sinks", "the rows have their own");
}

void Ablate::run() {
  const Model model = model_.load();
  const StreamOptions base = cache_arguments_.options();
  const std::int64_t cache = cache_ > 0 ? cache_ : base.window ? *base.window + base.sinks : 0;
  const eval::Ablation ablation = eval::make_ablation(model, kind_, base, cache, short_);
  const std::vector<Token> tokens = lab_.tokens(model);
  LabProgress progress;
  const auto results =
      eval::run_ablation(model, ablation, tokens, progress.callback("ablate " + kind_));
  progress.finish();
  lab_.show(eval::ablation_section(model, ablation, results, lab_.folder()));
}

}  // namespace

std::vector<std::string> with_kind_first(std::vector<std::string> arguments) {
  const auto flag = std::find(arguments.begin(), arguments.end(), "--layers");
  if (arguments.empty() || arguments.front() != "ablate" || flag == arguments.end())
    return arguments;
  arguments.erase(flag);
  arguments.insert(arguments.begin() + 1, "layers");
  return arguments;
}

std::unique_ptr<Command> add_ablate(CLI::App& program) { return std::make_unique<Ablate>(program); }

}  // namespace runnel::cli
