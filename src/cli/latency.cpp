// runnel latency: what one more token costs, with sinks, recomputed, and dense.
#include "eval/latency.h"

#include <CLI/CLI.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/lab.h"
#include "cli/validators.h"

namespace runnel::cli {
namespace {

constexpr const char* kLatencyExamples = R"(Examples:
  runnel latency model.gguf book.txt -o results
  runnel latency model.gguf book.txt --windows 256,512,1024,2048,4096)";

class Latency final : public Command {
 public:
  explicit Latency(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  CLI::App* app_;
  ModelArguments model_;
  LabArguments lab_;
  eval::LatencyOptions options_;
  std::string windows_ = "64,128,256,512";
};

Latency::Latency(CLI::App& program)
    : app_(program.add_subcommand("latency",
                                  "Time and memory of one token, against recomputation")) {
  app_->footer(kLatencyExamples);
  model_.add_to(*app_);
  lab_.add_to(*app_, 20000);
  app_->add_option("--windows", windows_, "Windows to measure")->type_name("N,N,...");
  app_->add_option("--tokens", options_.tokens, "Tokens timed for each; the median counts")
      ->type_name("N")
      ->check(whole_within(1, 1 << 20));
  app_->add_option("--recomputed-tokens", options_.recomputed_tokens, "The same for recomputation")
      ->type_name("N")
      ->check(whole_within(1, 1 << 20));
  app_->add_option("--dense-factor", options_.dense_factor,
                   "The dense cache holds so many windows of tokens")
      ->type_name("N")
      ->check(whole_within(1, 1 << 10));
}

void Latency::run() {
  options_.windows = number_list(windows_, "--windows");
  const Model model = model_.load();
  const std::vector<Token> tokens = lab_.tokens(model);
  LabProgress progress;
  const auto rows = eval::run_latency(model, tokens, options_, progress.callback("latency"));
  progress.finish();
  lab_.show(eval::latency_section(model, options_, rows, lab_.folder()));
}

}  // namespace

std::unique_ptr<Command> add_latency(CLI::App& program) {
  return std::make_unique<Latency>(program);
}

}  // namespace runnel::cli
