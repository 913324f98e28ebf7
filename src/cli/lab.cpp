#include "cli/lab.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/validators.h"
#include "engine/option_names.h"

namespace runnel::cli {

void LabArguments::add_to(CLI::App& app, std::int64_t default_limit) {
  limit_ = default_limit;
  app.add_option("TEXT", paths_, "Texts, joined into one stream; -: standard input")
      ->type_name("FILE")
      ->required();
  app.add_option("--limit", limit_, "Only the first N tokens; 0: all")
      ->type_name("N")
      ->check(whole_within(0, std::int64_t{1} << 40));
  app.add_option("-o,--output", folder_,
                 "Folder for the results: tables (CSV, JSON), pictures (SVG, PNG) and their data")
      ->type_name("FOLDER");
  app.add_flag("--json", is_json_, "The result as one JSON object");
}

std::string LabArguments::text() const {
  std::string text;
  for (const std::string& path : paths_) text += read_file(path);
  return text;
}

std::vector<Token> LabArguments::tokens(const Model& model) const {
  const std::string all = text();
  if (all.empty()) throw Error(fmt::format("{}: want a text, found nothing", paths_.front()));
  std::vector<Token> tokens = model.tokenize(all);
  if (limit_ > 0 && static_cast<std::int64_t>(tokens.size()) > limit_)
    tokens.resize(static_cast<std::size_t>(limit_));
  return tokens;
}

void LabArguments::show(const eval::Section& section) const {
  print_out(is_json_ ? eval::section_json(section) : eval::section_text(section));
  if (!folder_.empty()) fmt::print(stderr, "{}", dim(fmt::format("results in {}\n", folder_)));
}

void CacheArguments::add_to(CLI::App& app, const char* window_help) {
  app.add_option("--sinks", sinks_, "First tokens of the stream, kept for ever")
      ->type_name("TOKENS")
      ->check(whole_within(0, 1 << 24))
      ->group("Stream");
  app.add_option("--window", window_, window_help)
      ->type_name("TOKENS")
      ->check(whole_within(1, 1 << 24))
      ->group("Stream");
  app.add_option("--kv-type", kv_type_, "Number format of the cached keys and values")
      ->type_name("f32|f16|bf16|q8_0|q4_0")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0", "q4_0"}).description(""))
      ->group("Stream");
  app.add_option("--softmax", softmax_,
                 "Off-by-one adds 1 to the denominator of attention (default: what the model was "
                 "trained with)")
      ->type_name("standard|off-by-one")
      ->check(CLI::IsMember({"standard", "off-by-one"}).description(""))
      ->group("Stream");
}

StreamOptions CacheArguments::options() const {
  StreamOptions options = {.sinks = sinks_, .window = window_};
  options.kv_type = value_of(kKvTypes, kv_type_);
  if (!softmax_.empty()) options.softmax = value_of(kSoftmaxes, softmax_);
  return options;
}

eval::Progress LabProgress::callback(std::string label) {
  return [this, label = std::move(label)](double share) {
    if (status_.is_due()) {
      const double seconds = watch_.seconds();
      const std::string left =
          share > 0.01 ? seconds_text(seconds * (1 - share) / share) : std::string("?");
      status_.show(fmt::format(" {} · {} · {} left", progress_bar(share), label, left));
    }
    return !stop_.requested();
  };
}

void LabProgress::finish() {
  status_.close();
  stop_.tell_unfinished();
}

std::vector<std::int64_t> number_list(const std::string& text, const std::string& option,
                                      std::int64_t least) {
  const Check check = whole_within(least, 1 << 24);
  std::vector<std::int64_t> numbers;
  for (const std::string& word : CLI::detail::split(text + ',', ',')) {
    const std::string fault = check(word);
    if (!fault.empty()) throw CLI::ValidationError(option, fault + " between the commas");
    numbers.push_back(std::stoll(word));
  }
  return numbers;
}

}  // namespace runnel::cli
