// runnel detokenize: token ids to the bytes they stand for.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "gguf/file.h"
#include "runnel/error.h"
#include "tokenizer/tokenizer.h"

namespace runnel::cli {
namespace {

constexpr const char* kDetokenizeExamples = R"(Examples:
  runnel detokenize model.gguf 1 403 407
  runnel detokenize model.gguf -f ids.txt
  runnel tokenize model.gguf book.txt | runnel detokenize model.gguf | cmp - book.txt

Ids are separated by spaces, commas or newlines; brackets are skipped, so a JSON list works as well.)";

std::vector<Token> parse_ids(std::string_view text, int vocabulary_size) {
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  std::vector<Token> ids;
  std::size_t start = 0;
  while ((start = text.find_first_not_of(kSeparators, start)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, start), text.size());
    const std::string_view word = text.substr(start, end - start);
    Token id = 0;
    const auto [stop, fault] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (fault != std::errc{} || stop != word.data() + word.size() || id < 0 ||
        id >= vocabulary_size) {
      throw Error(fmt::format("token id '{}': want a number from 0 to {}", word.substr(0, 40),
                              vocabulary_size - 1));
    }
    ids.push_back(id);
    start = end;
  }
  return ids;
}

class Detokenize final : public Command {
 public:
  explicit Detokenize(CLI::App& program)
      : app_(program.add_subcommand("detokenize", "Turn token ids back into text")) {
    app_->footer(kDetokenizeExamples);
    model_.add_file_to(*app_);
    CLI::Option* ids =
        app_->add_option("ID", ids_, "Token ids (default: from standard input)")->default_str("");
    app_->add_option("-f,--file", file_, "Token ids from a file; -: standard input")
        ->type_name("FILE")
        ->excludes(ids);
    app_->add_flag("--special", special_, "Write control tokens by their names");
  }
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  CLI::App* app_;
  ModelArguments model_;
  std::vector<std::string> ids_;
  std::string file_ = "-";
  bool special_ = false;
};

void Detokenize::run() {
  const auto tokenizer = Tokenizer::from(gguf::File::open(model_.path()));
  const bool is_dash = ids_.size() == 1 && ids_.front() == "-";
  const std::string text =
      ids_.empty() || is_dash ? read_file(file_) : fmt::format("{}", fmt::join(ids_, " "));
  print_out(tokenizer->decode(parse_ids(text, tokenizer->size()), special_));
}

}  // namespace

std::unique_ptr<Command> add_detokenize(CLI::App& program) {
  return std::make_unique<Detokenize>(program);
}

}  // namespace runnel::cli
