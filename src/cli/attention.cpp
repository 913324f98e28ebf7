// runnel attention: where the model looks, on average, and which heads rest on the first tokens.
#include "eval/attention.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/lab.h"
#include "cli/validators.h"
#include "eval/attention_section.h"

namespace runnel::cli {
namespace {

constexpr const char* kAttentionExamples = R"(Examples:
  runnel attention model.gguf book.txt -o maps               256 texts of 16 tokens, as in the paper
  runnel attention model.gguf book.txt --length 128 --texts 64 --heads -o maps
  runnel attention model.gguf book.txt --length 96 --policy sink --window 28 -o maps

The table ranks the heads by their sink score: the share of attention that later tokens rest on the first
ones. The maps are NumPy files, attention-layers.npy [layers, length, length].)";

class AttentionCommand final : public Command {
 public:
  explicit AttentionCommand(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  CLI::App* app_;
  ModelArguments model_;
  LabArguments lab_;
  StreamArguments stream_;
  eval::AttentionOptions options_;
  int texts_ = 256;
};

AttentionCommand::AttentionCommand(CLI::App& program)
    : app_(program.add_subcommand("attention", "Average attention maps, and the heads' sinks")) {
  app_->footer(kAttentionExamples);
  model_.add_to(*app_);
  lab_.add_to(*app_, 0);
  app_->add_option("--texts", texts_, "Texts to average over, cut at sentences")
      ->type_name("N")
      ->check(whole_within(1, 1 << 24));
  app_->add_option("--length", options_.length, "Tokens of each text")
      ->type_name("N")
      ->check(whole_within(2, 1 << 20));
  app_->add_option("--first", options_.first_tokens, "Tokens that count as sinks in the scores")
      ->type_name("N")
      ->check(whole_within(1, 1 << 10));
  app_->add_flag("--heads", options_.keeps_heads, "Keep a map for each head, not only each layer");
  stream_.add_to(*app_, "dense");
}

void AttentionCommand::run() {
  const Model model = model_.load();
  options_.stream = stream_.options();
  eval::AttentionStudy study(model, options_);
  const auto texts = eval::sentence_windows(model, lab_.text(), texts_, options_.length);
  if (texts.empty()) {
    throw Error(
        fmt::format("attention: want sentences with {} tokens after their beginning, found none",
                    options_.length));
  }
  LabProgress progress;
  const eval::Progress report = progress.callback("attention");
  for (const auto& text : texts) {
    if (!report(study.n_texts() / static_cast<double>(texts.size()))) break;
    study.add(text);
  }
  progress.finish();
  if (study.n_texts() > 0) lab_.show(eval::attention_section(model, study, lab_.folder()));
}

}  // namespace

std::unique_ptr<Command> add_attention(CLI::App& program) {
  return std::make_unique<AttentionCommand>(program);
}

}  // namespace runnel::cli
