// runnel table3: what a model trained with a sink token, with a zero sink, or with neither loses
// when the window drops its first token.
#include "eval/table3.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "cli/files.h"
#include "cli/lab.h"
#include "cli/validators.h"

namespace runnel::cli {
namespace {

constexpr const char* kTable3Examples = R"(Examples:
  runnel table3 models book.txt                     models/*vanilla*.gguf, *zero*.gguf, *sink*.gguf
  runnel table3 models book.txt --caches 124,252,504 --limit 20000 -o results

The three models come from training/ (docs/training.md). Each is run with its own softmax and BOS.)";

// The file of a variant, by its name.
std::string find_model(const std::string& folder, eval::Variant variant) {
  const std::string name = eval::variant_name(variant);
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string file = entry.path().filename().string();
    if (entry.path().extension() == ".gguf" && file.find(name) != std::string::npos)
      found.push_back(file);
  }
  if (error) throw Error(fmt::format("{}: cannot list the folder: {}", folder, error.message()));
  std::sort(found.begin(), found.end());
  if (found.size() != 1) {
    throw Error(fmt::format("{}: want one .gguf file with {} in its name, found {}", folder, name,
                            found.empty() ? "none" : fmt::format("{}", fmt::join(found, ", "))));
  }
  return (std::filesystem::path(folder) / found.front()).string();
}

class Table3 final : public Command {
 public:
  explicit Table3(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  std::vector<eval::VariantResult> measure();

  CLI::App* app_;
  std::string folder_;
  int threads_ = 0;
  LabArguments lab_;
  std::string caches_;
  eval::Table3Options options_;
};

Table3::Table3(CLI::App& program)
    : app_(program.add_subcommand("table3",
                                  "Models trained with and without a sink, past their window")) {
  app_->footer(kTable3Examples);
  app_->add_option("FOLDER", folder_, "Folder of the three models")->required();
  lab_.add_to(*app_, 20000);
  app_->add_option("--caches", caches_,
                   "Sizes of the cache, sinks and window in all (default: about a quarter, a half "
                   "and the whole of the trained context)")
      ->type_name("TOKENS,...");
  app_->add_option("--texts", options_.attention_texts, "Texts whose attention is averaged")
      ->type_name("N")
      ->check(whole_within(1, 1 << 16));
  app_->add_option("--threads", threads_, "Worker threads; 0: one for each core")
      ->type_name("N")
      ->check(whole_within(0, 1024));
  app_->callback([this] {
    if (!caches_.empty()) options_.caches = number_list(caches_, "--caches", 16);
  });
}

std::vector<eval::VariantResult> Table3::measure() {
  std::vector<std::string> files;
  for (const eval::Variant variant : eval::kVariants) files.push_back(find_model(folder_, variant));
  LabProgress progress;
  std::vector<eval::VariantResult> results;
  for (std::size_t i = 0; i < files.size() && !progress.is_stopped(); ++i) {
    const eval::Variant variant = eval::kVariants[i];
    const Model model = Model::load(files[i], {.threads = threads_});
    const double width = 1.0 / static_cast<double>(files.size());
    results.push_back(
        eval::run_variant(model, variant, lab_.text(), lab_.tokens(model), options_,
                          eval::part_of(progress.callback("table3 " + eval::variant_name(variant)),
                                        width * static_cast<double>(i), width)));
  }
  progress.finish();
  return results;
}

void Table3::run() {
  const std::vector<eval::VariantResult> results = measure();
  const eval::Section table = eval::table3_section(results, lab_.folder());
  const eval::Section attention = eval::table3_attention_section(results, lab_.folder());
  if (lab_.is_json()) {
    const nlohmann::ordered_json json = {
        {"table3", nlohmann::ordered_json::parse(eval::section_json(table))},
        {"attention", nlohmann::ordered_json::parse(eval::section_json(attention))}};
    print_out(json.dump(2) + "\n");
  } else {
    print_out(eval::section_text(table) + "\n" + eval::section_text(attention));
  }
}

}  // namespace

std::unique_ptr<Command> add_table3(CLI::App& program) { return std::make_unique<Table3>(program); }

}  // namespace runnel::cli
