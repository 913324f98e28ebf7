// runnel generate: text in, text out, without end.
//
// The prompt passes the model piece by piece, so it may be longer than memory or never end; then
// tokens follow until the count, the signal or the reader says stop. Text goes to standard output
// and everything else to standard error.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/constraint_arguments.h"
#include "cli/files.h"
#include "cli/numbers.h"
#include "cli/resume.h"
#include "cli/signals.h"
#include "cli/stream_report.h"
#include "cli/terminal.h"
#include "cli/text_source.h"
#include "cli/validators.h"
#include "engine/internals.h"

namespace runnel::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kGenerateExamples = R"(Examples:
  runnel generate model.gguf -p "Once upon a time"         endless, until Ctrl-C
  runnel generate model.gguf -f book.txt -n 200            read a book of any length, then 200 tokens
  tail -f app.log | runnel generate model.gguf - -n 0 --save log.state --save-every 10000
  runnel generate model.gguf -p "Hello" -n 50 --save s     stop after 50 tokens, keep the stream,
  runnel generate model.gguf --resume s --save s           and go on with it another day
  runnel generate model.gguf -p "Hello" -n 3 --json        a line for each token, then a summary
  runnel generate model.gguf -p "A person: " --json-schema person.json     JSON of that form, then stop

Ctrl-C ends cleanly after the current token; when -n asked for more, the exit code is 130. An
end-of-text token does not end the stream: it shows as an empty line, and the text goes on (see
--stop-at-eos). Control tokens written in the prompt (as <|im_start|>) are plain text without --special.)";

// A line of JSON; bytes that are not UTF-8 become U+FFFD.
std::string json_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

class Generate final : public Command {
 public:
  explicit Generate(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  void add_prompt_options();
  void add_output_options();
  void check_usage() const;
  std::optional<TextSource> open_prompt() const;
  Stream open_stream(const Model& model) const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  SamplingArguments sampling_;
  ConstraintArguments constraint_;
  std::string prompt_;
  std::string prompt_file_;
  std::string input_;
  std::int64_t n_tokens_ = -1;
  std::string save_path_;
  std::int64_t save_every_ = 0;
  std::string resume_path_;
  bool is_json_ = false;
  bool is_quiet_ = false;
  bool is_echo_ = false;
  bool stops_at_eos_ = false;
  bool is_special_ = false;

  // One run, from the opened stream to the summary.
  class Run;
};

class Generate::Run {
 public:
  Run(const Generate& options, const Tokenizer* tokenizer, Stream stream)
      : options_(options),
        tokenizer_(tokenizer),
        stream_(std::move(stream)),
        status_(!options.is_quiet_) {}

  void ingest(TextSource& prompt);
  void generate(std::unique_ptr<TokenConstraint> constraint);
  void finish();
  // After an error, so that what was done is not lost with it. Says where it is.
  void rescue();

 private:
  std::vector<Token> encode(std::string_view text) const;
  bool is_short() const { return options_.n_tokens_ > n_generated_; }  // fewer tokens than -n
  void emit(const Stream::Step& step);
  void save_if_due();
  void show_status(std::int64_t position, const char* doing);
  void print_summary();

  const Generate& options_;
  const Tokenizer* tokenizer_;  // null where the file has no vocabulary
  Stream stream_;
  StopSignals stop_;
  Output output_;
  StatusLine status_;
  RateMeter rate_;
  std::int64_t saved_position_ = stream_.position();
  std::int64_t n_ingested_ = 0;
  double ingest_seconds_ = 0;
  std::int64_t n_generated_ = 0;
  double generate_seconds_ = 0;
  const char* stopped_by_ = "count";
  const TokenConstraint* constraint_ = nullptr;  // the stream's
  std::string rest_of_text_;  // of a last character that was not finished; for JSON
};

Generate::Generate(CLI::App& program)
    : app_(program.add_subcommand("generate",
                                  "Write text without end, after a prompt if you like")) {
  app_->footer(kGenerateExamples);
  model_.add_to(*app_);
  add_prompt_options();
  add_output_options();
  stream_.add_to(*app_);
  stream_.add_pin_to(*app_);
  stream_.add_draft_to(*app_);
  sampling_.add_to(*app_);
  constraint_.add_to(*app_, "--json-object");
  CLI::Option* resume =
      app_->add_option("--resume", resume_path_, "Go on with a stream saved by --save")
          ->type_name("FILE");
  for (CLI::Option* option : stream_.all()) resume->excludes(option);
  app_->callback([this] { check_usage(); });
}

void Generate::add_prompt_options() {
  CLI::Option* text =
      app_->add_option("-p,--prompt", prompt_, "The text to go on from")->type_name("TEXT");
  CLI::Option* file =
      app_->add_option("-f,--file", prompt_file_, "The same from a file of any length")
          ->type_name("FILE")
          ->excludes(text);
  app_->add_option("TEXT", input_, "The same as -f; -: standard input, as it comes")
      ->type_name("FILE")
      ->excludes(file);
  app_->add_flag("--special", is_special_,
                 "Control tokens written in the prompt (as <s>) become tokens");
}

void Generate::add_output_options() {
  app_->add_option("-n,--tokens", n_tokens_,
                   "Tokens to write; -1: without end, 0: only read the prompt")
      ->type_name("N")
      ->check(whole_within(-1, std::int64_t{1} << 62));
  app_->add_flag("--stop-at-eos", stops_at_eos_, "Stop when the model says it has finished");
  app_->add_flag("--echo", is_echo_, "Write the prompt too (on a terminal -p always shows)");
  app_->add_flag("--json", is_json_,
                 "A JSON object on a line for each token, then a summary object");
  app_->add_flag("--quiet", is_quiet_, "No status line, no summary");
  CLI::Option* save = app_->add_option("--save", save_path_,
                                       "Write the stream's state here at the end, on Ctrl-C too")
                          ->type_name("FILE");
  app_->add_option("--save-every", save_every_,
                   "Write it every N tokens as well; 0: only at the end")
      ->type_name("N")
      ->check(whole_within(0, std::int64_t{1} << 62))
      ->needs(save);
}

void Generate::check_usage() const {
  if (!input_.empty() && !prompt_.empty()) {
    throw CLI::ValidationError(fmt::format(
        "want one prompt, found two: -p gives the text itself, and '{}' behind the model "
        "is a file to read it from",
        input_));
  }
  if (!input_.empty() && input_ != "-" && !std::filesystem::exists(input_)) {
    throw CLI::ValidationError(
        fmt::format("'{}' after the model: no such file; a text goes after -p", input_));
  }
}

std::optional<TextSource> Generate::open_prompt() const {
  if (!prompt_.empty()) return TextSource::from_text(prompt_);
  if (!prompt_file_.empty()) return TextSource::from_file(prompt_file_);
  if (!input_.empty()) return TextSource::from_file(input_);
  return std::nullopt;
}

Stream Generate::open_stream(const Model& model) const {
  if (resume_path_.empty()) {
    StreamOptions options = stream_.options();
    options.sampling = sampling_.over(options.sampling);
    return model.open(options);
  }
  Stream stream = is_quiet_ ? model.resume(resume_path_) : resume(model, resume_path_);
  if (sampling_.any_given()) stream.set_sampling(sampling_.over(stream.options().sampling));
  return stream;
}

void Generate::run() {
  std::optional<TextSource> prompt = open_prompt();
  if (!save_path_.empty()) check_replaceable(save_path_);
  const Model model = model_.load();
  const Tokenizer* tokenizer = model.internals().tokenizer.get();
  if (const int n_parts = model.internals().file.n_parts(); n_parts > 1 && !is_quiet_)
    tell(dim(fmt::format("The model is split: part 1 of {} and the others beside it.", n_parts)));
  constraint_.prepare(model);
  Run run(*this, tokenizer, open_stream(model));
  try {
    if (prompt) run.ingest(*prompt);
    run.generate(constraint_.make());
  } catch (const Error&) {
    run.rescue();
    throw;
  }
  run.finish();
}

void Generate::Run::rescue() {
  status_.close();
  if (options_.save_path_.empty()) return;
  try {
    stream_.save(options_.save_path_);
    tell(dim(fmt::format("The stream up to position {} is saved to {}", grouped(stream_.position()),
                         options_.save_path_)));
  } catch (const Error& error) {  // the first error is the one to report
    complain(error.what());
  }
}

std::vector<Token> Generate::Run::encode(std::string_view text) const {
  if (tokenizer_ == nullptr) throw Error("the file has no vocabulary: want one to read text with");
  const bool is_first = stream_.position() == stream_.options().start_position;
  return tokenizer_->encode(
      text, {.add_bos = is_first, .parse_special = options_.is_special_, .space_prefix = is_first});
}

void Generate::Run::ingest(TextSource& prompt) {
  const Stopwatch watch;
  const bool shows_text =
      !options_.is_json_ &&
      (options_.is_echo_ || (output_.is_terminal() && !options_.prompt_.empty()));
  if (tokenizer_ != nullptr) prompt.cut_for(*tokenizer_);
  while (!stop_.requested()) {
    const std::optional<std::string> piece = prompt.next(stop_);
    if (!piece) break;
    if (shows_text) output_.write(*piece);
    const std::int64_t start = stream_.position();
    n_ingested_ += stream_.feed(encode(*piece), [&](std::int64_t n) {
      if (status_.is_due()) show_status(start + n, "reading");
      return !stop_.requested();
    });
    save_if_due();
  }
  ingest_seconds_ = watch.seconds();
}

void Generate::Run::generate(std::unique_ptr<TokenConstraint> constraint) {
  const Stopwatch watch;
  const bool stops_at_end = options_.stops_at_eos_ || constraint != nullptr;
  constraint_ = constraint.get();
  stream_.set_constraint(std::move(constraint));
  const auto is_wanted = [this] {
    return options_.n_tokens_ < 0 || n_generated_ < options_.n_tokens_;
  };
  while (is_wanted() && !stop_.requested() && !output_.is_closed()) {
    const Stream::Step step = stream_.next();
    ++n_generated_;
    emit(step);
    save_if_due();
    if (status_.is_due()) show_status(stream_.position(), "writing");
    if (step.end_of_generation && stops_at_end) {
      stopped_by_ = "end of generation";
      break;
    }
  }
  generate_seconds_ = watch.seconds();
  if (stop_.requested()) stopped_by_ = "signal";
  if (output_.is_closed()) stopped_by_ = "closed output";
}

void Generate::Run::emit(const Stream::Step& step) {
  if (!options_.is_json_) {
    output_.write(step.text);
    const bool goes_on = !options_.stops_at_eos_ && !options_.constraint_.any_given();
    if (step.end_of_generation && goes_on) output_.write("\n\n");
    return;
  }
  Json line = {{"id", step.token},
               {"text", step.text},
               {"logprob", step.log_probability},
               {"position", stream_.position() - 1}};
  if (step.end_of_generation) line["end_of_generation"] = true;
  output_.write(json_line(line));
}

void Generate::Run::save_if_due() {
  if (options_.save_every_ == 0 || stream_.position() - saved_position_ < options_.save_every_)
    return;
  saved_position_ = stream_.position();
  try {
    stream_.save(options_.save_path_);
  } catch (const Error& error) {  // a disk may be full for a moment: the old file is whole
    complain(
        fmt::format("{}; trying again {} tokens on", error.what(), grouped(options_.save_every_)));
  }
}

void Generate::Run::show_status(std::int64_t position, const char* doing) {
  const double rate = rate_.update(static_cast<double>(position));
  status_.show(
      fmt::format(" {} · {} · {}", doing, rate_text(rate), stream_report(stream_, position)));
}

// Half a character waits in a saved stream and is written when it goes on.
void Generate::Run::finish() {
  status_.close();
  if (!options_.save_path_.empty()) {
    stream_.save(options_.save_path_);
  } else if (options_.is_json_) {
    rest_of_text_ = stream_.flush_text();
  } else {
    output_.write(stream_.flush_text());
  }
  if (output_.is_terminal() && !output_.ends_line()) output_.write("\n");
  print_summary();
  if (stop_.requested() && is_short()) {
    throw Stopped(stop_, fmt::format("{} of {} tokens were written", grouped(n_generated_),
                                     grouped(options_.n_tokens_)));
  }
  if (constraint_ != nullptr && n_generated_ > 0 && !constraint_->is_complete()) {
    throw Error(fmt::format("the JSON is not finished after {} tokens: want a larger -n",
                            grouped(n_generated_)));
  }
}

void Generate::Run::print_summary() {
  const auto ingested = static_cast<double>(n_ingested_);
  const auto generated = static_cast<double>(n_generated_);
  if (options_.is_json_) {
    Json summary = stream_json(stream_);
    summary["ingested"] = n_ingested_;
    summary["ingest_seconds"] = ingest_seconds_;
    summary["generated"] = n_generated_;
    summary["generate_seconds"] = generate_seconds_;
    summary["tokens_per_second"] = n_generated_ > 0 ? generated / generate_seconds_ : 0.0;
    summary["peak_resident_bytes"] = peak_resident_bytes();
    summary["stopped_by"] = stopped_by_;
    if (!rest_of_text_.empty()) summary["rest_of_text"] = rest_of_text_;
    output_.write(json_line({{"summary", summary}}));
    return;
  }
  if (options_.is_quiet_ || output_.is_closed()) return;
  std::string text;
  if (n_ingested_ > 0) {
    text += fmt::format("read {} tokens in {} ({}) · ", grouped(n_ingested_),
                        seconds_text(ingest_seconds_), rate_text(ingested / ingest_seconds_));
  }
  if (n_generated_ > 0) {
    text += fmt::format("wrote {} tokens in {} ({}) · ", grouped(n_generated_),
                        seconds_text(generate_seconds_), rate_text(generated / generate_seconds_));
  }
  text += stream_report(stream_, stream_.position());
  if (!options_.save_path_.empty()) text += " · saved to " + options_.save_path_;
  // What goes into a file is not on the screen; a pipe or a terminal may show both.
  const bool shares_line = !output_.ends_line() && !output_.is_file();
  tell((shares_line ? "\n" : "") + dim(text));
}

}  // namespace

std::unique_ptr<Command> add_generate(CLI::App& program) {
  return std::make_unique<Generate>(program);
}

}  // namespace runnel::cli
