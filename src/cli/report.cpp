// runnel report: every experiment with small defaults, in one page to read and to send.
#include "eval/report.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <utility>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/lab.h"
#include "cli/validators.h"
#include "eval/ablation.h"
#include "eval/attention_section.h"
#include "eval/latency.h"
#include "eval/perplexity_section.h"
#include "eval/streameval.h"

namespace runnel::cli {
namespace {

constexpr const char* kReportExamples = R"(Examples:
  runnel report model.gguf book.txt -o results
  runnel report model.gguf book.txt -o results --limit 200000 --cache 1024

The page is FOLDER/report.html and needs nothing beside it; tables, pictures and data lie around it.
Ctrl-C ends the experiment that runs and leaves out those that follow.)";

constexpr int kAttentionLength = 64;  // long enough to tell the first token from the near ones
constexpr int kAttentionTexts = 64;

class ReportCommand final : public Command {
 public:
  explicit ReportCommand(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  using Add = void (ReportCommand::*)(const Model&, LabProgress&);
  void add_perplexity(const Model& model, LabProgress& progress);
  void add_attention(const Model& model, LabProgress& progress);
  void add_ablations(const Model& model, LabProgress& progress);
  void add_latency(const Model& model, LabProgress& progress);
  void add_streameval(const Model& model, LabProgress& progress);
  void finish(const Model& model, double seconds);

  CLI::App* app_;
  ModelArguments model_;
  LabArguments lab_;
  int sinks_ = 4;
  std::int64_t cache_ = 0;
  StreamOptions stream_;
  std::vector<Token> tokens_;
  eval::Report report_;
};

ReportCommand::ReportCommand(CLI::App& program)
    : app_(program.add_subcommand("report", "All experiments in one page of HTML")) {
  app_->footer(kReportExamples);
  model_.add_to(*app_);
  lab_.add_to(*app_, 20000);
  app_->get_option("--output")->required();
  app_->add_option("--sinks", sinks_, "First tokens of the stream, kept for ever")
      ->type_name("TOKENS")
      ->check(whole_within(1, 1 << 20));
  app_->add_option(
          "--cache", cache_,
          "Tokens of the cache in all (default: half the trained context, so that cache and "
          "trained length can be told apart)")
      ->type_name("TOKENS")
      ->check(whole_within(16, 1 << 24));
}

void ReportCommand::run() {
  const Model model = model_.load();
  if (cache_ == 0) cache_ = std::min(model.trained_context() / 2, 2048);
  stream_ = {.sinks = sinks_, .window = cache_ - sinks_};
  tokens_ = lab_.tokens(model);
  const Stopwatch watch;
  {
    LabProgress progress;
    for (const Add add : {&ReportCommand::add_perplexity, &ReportCommand::add_attention,
                          &ReportCommand::add_ablations, &ReportCommand::add_latency,
                          &ReportCommand::add_streameval}) {
      if (!progress.is_stopped()) (this->*add)(model, progress);
    }
    progress.finish();
  }
  finish(model, watch.seconds());
}

void ReportCommand::add_perplexity(const Model& model, LabProgress& progress) {
  eval::PerplexityRun run(
      model, tokens_,
      {.policies = {Policy::kDense, Policy::kWindow, Policy::kSink, Policy::kRecompute},
       .stream = stream_,
       .dense_tokens = 16 * std::int64_t{model.trained_context()},
       .recompute_tokens = 300});
  const bool is_complete = run.run(progress.callback("1 of 5: perplexity"));
  report_.sections.push_back(eval::perplexity_section(model, run, is_complete, lab_.folder()));
}

void ReportCommand::add_attention(const Model& model, LabProgress& progress) {
  const int length = std::min(kAttentionLength, model.trained_context() / 2);
  eval::AttentionStudy study(model, {.length = length});
  const auto texts = eval::sentence_windows(model, lab_.text(), kAttentionTexts, length);
  const eval::Progress report = progress.callback("2 of 5: attention");
  for (const auto& text : texts) {
    if (!report(study.n_texts() / static_cast<double>(texts.size()))) break;
    study.add(text);
  }
  if (study.n_texts() > 0)
    report_.sections.push_back(eval::attention_section(model, study, lab_.folder()));
}

void ReportCommand::add_ablations(const Model& model, LabProgress& progress) {
  for (const std::string& kind : eval::ablation_kinds()) {
    if (kind == "layers") continue;  // a row for every layer is for itself
    if (progress.is_stopped()) return;
    const eval::Ablation ablation = eval::make_ablation(model, kind, stream_, cache_);
    const auto results = eval::run_ablation(model, ablation, tokens_,
                                            progress.callback("3 of 5: " + ablation.title));
    report_.sections.push_back(eval::ablation_section(model, ablation, results, lab_.folder()));
  }
}

void ReportCommand::add_latency(const Model& model, LabProgress& progress) {
  eval::LatencyOptions options = {.stream = stream_};
  options.windows = {cache_ / 2, cache_, cache_ * 2, cache_ * 4};
  const auto rows =
      eval::run_latency(model, tokens_, options, progress.callback("4 of 5: time of a token"));
  report_.sections.push_back(eval::latency_section(model, options, rows, lab_.folder()));
}

void ReportCommand::add_streameval(const Model& model, LabProgress& progress) {
  const eval::StreamEvalOptions options = {.lines = 200, .distances = {2, 5, 11, 20}};
  StreamOptions stream = stream_;
  stream.window.reset();  // the longest the model was trained for
  const auto answerer = eval::make_answerer(model, stream, 12);
  const auto queries =
      eval::run_streameval(*answerer, options, progress.callback("5 of 5: StreamEval"));
  report_.sections.push_back(
      eval::streameval_section(model, options, stream, queries, lab_.folder()));
}

void ReportCommand::finish(const Model& model, double seconds) {
  report_.title = model.name() + " on an endless stream";
  report_.subtitle = fmt::format(
      "{} architecture, {} layers, trained for {} tokens · {} tokens of text · cache of {} sinks "
      "and {} tokens of window · {} threads, {} · measured in {}",
      model.architecture(), model.layers(), grouped(model.trained_context()),
      grouped(static_cast<std::int64_t>(tokens_.size())), sinks_, cache_ - sinks_, model.threads(),
      model.instruction_set(), seconds_text(seconds));
  for (const eval::Section& section : report_.sections) {
    if (section.name == "perplexity" || section.name == "attention" || section.name == "latency")
      report_.summary.push_back(section.verdict);
  }
  const std::filesystem::path page = std::filesystem::path(lab_.folder()) / "report.html";
  eval::write_file(page, eval::report_html(report_, lab_.folder()));
  if (lab_.is_json()) {
    print_out(eval::report_json(report_));
    fmt::print(stderr, "{}", dim(fmt::format("results in {}\n", lab_.folder())));
    return;
  }
  for (const eval::Section& section : report_.sections)
    print_out(fmt::format("{}\n  {}\n", section.title, section.verdict));
  print_out(fmt::format("{}\n", page.string()));
}

}  // namespace

std::unique_ptr<Command> add_report(CLI::App& program) {
  return std::make_unique<ReportCommand>(program);
}

}  // namespace runnel::cli
