// runnel streameval: facts in a stream and questions about them, or questions from a file.
#include "eval/streameval.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/lab.h"
#include "cli/terminal.h"
#include "cli/validators.h"

namespace runnel::cli {
namespace {

constexpr const char* kStreamevalExamples = R"(Examples:
  runnel streameval model.gguf --lines 1000 -o results
  runnel streameval model.gguf --lines 1000 --distance 10,20,50,100 --window 1020
  runnel streameval instruct-model.gguf --chat --lines 1000
  runnel streameval model.gguf --questions arc.jsonl -o results

A file of questions has a JSON object a line: {"question": "...", "answer": "..."}, or with
"choices": ["...", ...] and the answer's index, letter or text. All are answered in one stream.)";

class StreamEval final : public Command {
 public:
  explicit StreamEval(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  void check_usage();
  void run_lines(const Model& model, eval::Answerer& answerer);
  void run_questions(const Model& model, eval::Answerer& answerer) const;
  void show(const eval::Section& section) const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  eval::StreamEvalOptions options_;
  std::string distances_ = "20";
  std::string questions_;
  std::string folder_;
  int most_tokens_ = 24;
  bool is_chat_ = false;
  bool is_json_ = false;
};

StreamEval::StreamEval(CLI::App& program)
    : app_(program.add_subcommand("streameval", "Ask for what the stream said some lines ago")) {
  app_->footer(kStreamevalExamples);
  model_.add_to(*app_);
  app_->add_option("--lines", options_.lines, "Lines of the stream")
      ->type_name("N")
      ->check(whole_within(2, 1 << 24));
  app_->add_option("--every", options_.every, "Lines between two questions")
      ->type_name("N")
      ->check(whole_within(1, 1 << 24));
  app_->add_option("--distance", distances_, "Lines back that are asked for, in turn")
      ->type_name("N,N,...");
  app_->add_option("--seed", options_.seed, "The same seed gives the same lines")
      ->type_name("N")
      ->check(any_seed());
  app_->add_option("--questions", questions_, "Questions from this file (JSON lines) instead")
      ->type_name("FILE");
  app_->add_option("--answer-tokens", most_tokens_, "The longest answer")
      ->type_name("N")
      ->check(whole_within(1, 1 << 16));
  app_->add_flag("--chat", is_chat_, "As a dialogue, by the model's own chat template");
  app_->add_option("-o,--output", folder_, "Folder for the results")->type_name("FOLDER");
  app_->add_flag("--json", is_json_, "The result as one JSON object");
  stream_.add_to(*app_);
  app_->callback([this] { check_usage(); });
}

void StreamEval::check_usage() {
  options_.distances.clear();
  for (const std::int64_t distance : number_list(distances_, "--distance", 0))
    options_.distances.push_back(static_cast<int>(distance));
  if (!questions_.empty()) return;
  try {
    eval::check_streameval(options_);
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
}

void StreamEval::run() {
  const Model model = model_.load();
  const auto answerer = is_chat_ ? eval::make_chat_answerer(model, stream_.options(), most_tokens_)
                                 : eval::make_answerer(model, stream_.options(), most_tokens_);
  if (questions_.empty()) {
    run_lines(model, *answerer);
  } else {
    run_questions(model, *answerer);
  }
}

void StreamEval::run_lines(const Model& model, eval::Answerer& answerer) {
  LabProgress progress;
  const auto queries = eval::run_streameval(answerer, options_, progress.callback("streameval"));
  progress.finish();
  show(eval::streameval_section(model, options_, stream_.options(), queries, folder_));
}

void StreamEval::run_questions(const Model& model, eval::Answerer& answerer) const {
  const auto questions = eval::read_questions(questions_);
  if (questions.empty()) throw Error(questions_ + ": want questions, found none");
  LabProgress progress;
  const auto answers = eval::run_questions(answerer, questions, progress.callback("questions"));
  progress.finish();
  show(eval::questions_section(model, stream_.options(), questions, answers, folder_));
}

void StreamEval::show(const eval::Section& section) const {
  print_out(is_json_ ? eval::section_json(section) : eval::section_text(section));
  if (!folder_.empty()) fmt::print(stderr, "{}", dim(fmt::format("results in {}\n", folder_)));
}

}  // namespace

std::unique_ptr<Command> add_streameval(CLI::App& program) {
  return std::make_unique<StreamEval>(program);
}

}  // namespace runnel::cli
