// runnel tokenize: text to token ids, by the vocabulary of a model (or of a vocabulary-only file).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/signals.h"
#include "cli/text_source.h"
#include "gguf/file.h"
#include "tokenizer/tokenizer.h"

namespace runnel::cli {
namespace {

constexpr const char* kTokenizeExamples = R"(Examples:
  echo -n "Hello, world" | runnel tokenize model.gguf
  runnel tokenize model.gguf book.txt > ids.txt
  runnel tokenize model.gguf book.txt --pieces | head
  runnel tokenize model.gguf book.txt | runnel detokenize model.gguf)";

// A piece on a line of its own: its newlines, tabs and backslashes written as in C.
std::string escaped(std::string_view piece) {
  std::string text;
  for (const char c : piece) {
    if (c == '\n')
      text += "\\n";
    else if (c == '\t')
      text += "\\t";
    else if (c == '\r')
      text += "\\r";
    else if (c == '\\')
      text += "\\\\";
    else
      text += c;
  }
  return text;
}

class Tokenize final : public Command {
 public:
  explicit Tokenize(CLI::App& program)
      : app_(program.add_subcommand("tokenize", "Turn text into token ids")) {
    app_->footer(kTokenizeExamples);
    model_.add_file_to(*app_);
    app_->add_option("TEXT", text_, "The text, a file of any length; -: standard input")
        ->type_name("FILE");
    app_->add_flag("--no-bos", no_bos_, "Without the token that begins a text");
    app_->add_flag("--special", special_,
                   "Control tokens written in the text (as <s>) become tokens");
    app_->add_flag("--pieces", pieces_, "One token on a line: its id and its piece of text");
  }
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  std::string lines_of(const Tokenizer& tokenizer, const std::vector<Token>& tokens);

  CLI::App* app_;
  ModelArguments model_;
  std::string text_ = "-";
  bool no_bos_ = false;
  bool special_ = false;
  bool pieces_ = false;
  bool is_first_ = true;
};

void Tokenize::run() {
  const StopSignals stop;
  const auto tokenizer = Tokenizer::from(gguf::File::open(model_.path()));
  TextSource source = TextSource::from_file(text_);
  source.cut_for(*tokenizer);
  Output output;
  EncodeOptions options{.add_bos = !no_bos_, .parse_special = special_, .space_prefix = true};
  std::optional<std::string> piece = source.next(stop);
  do {  // an empty text has its first token too
    output.write(lines_of(*tokenizer, tokenizer->encode(piece.value_or(""), options)));
    options.add_bos = options.space_prefix = false;
    piece = source.next(stop);
  } while (piece && !output.is_closed() && !stop.requested());
  if (!pieces_) output.write("\n");
  if (stop.requested()) throw Stopped(stop, "the rest of the text was not read");
}

std::string Tokenize::lines_of(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  std::string text;
  for (const Token token : tokens) {
    if (pieces_) {
      text += fmt::format("{}\t{}\n", token, escaped(tokenizer.piece(token)));
    } else {
      text += fmt::format("{}{}", is_first_ ? "" : " ", token);
    }
    is_first_ = false;
  }
  return text;
}

}  // namespace

std::unique_ptr<Command> add_tokenize(CLI::App& program) {
  return std::make_unique<Tokenize>(program);
}

}  // namespace runnel::cli
