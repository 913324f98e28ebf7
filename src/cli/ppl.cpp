// runnel ppl: how well a model predicts a text while its cache evicts by a policy.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/numbers.h"
#include "cli/ppl_study.h"
#include "cli/signals.h"
#include "cli/stream_report.h"
#include "cli/terminal.h"
#include "cli/token_source.h"
#include "cli/validators.h"
#include "engine/option_names.h"

namespace runnel::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kPplExamples = R"(Examples:
  runnel ppl model.gguf book.txt                                the sink policy, its default window
  runnel ppl model.gguf book.txt --policy window --window 60    what happens without sinks
  runnel ppl model.gguf book.txt --limit 20000 --json
  runnel ppl model.gguf --tokens ids.json --nll values.json
  runnel ppl model.gguf book.txt more.txt --policy all -o results

The text is one stream of any length. Perplexity is exp of the mean negative log-likelihood
(natural log) of every token but the first. Ctrl-C reports what is done so far.

Several policies (a list between commas, or all) run over the same tokens: a table, and with -o the
curves as CSV, a picture and the values of every token. Such a run, stopped, goes on when the command is
given again. Dense attention and recomputation are costly, so they are limited.)";

constexpr std::size_t kTokensAtOnce = 4096;

// The JSON list of values, written as they come.
class NllFile {
 public:
  explicit NllFile(const std::string& path) : file_(path) { file_.write("["); }

  void add(const std::vector<float>& values) {
    std::string text;
    for (const float value : values) {
      const char* separator = is_first_ ? "\n" : ",\n";
      text += std::isfinite(value) ? fmt::format("{}{:.9g}", separator, value)
                                   : fmt::format("{}null", separator);
      is_first_ = false;
    }
    file_.write(text);
  }
  void commit() {
    file_.write("\n]\n");
    file_.commit();
  }

 private:
  ReplacedFile file_;
  bool is_first_ = true;
};

// Running totals over the predicted tokens.
struct Perplexity {
  std::int64_t n_predicted = 0;
  double nll_sum = 0;

  void add(const std::vector<float>& values) {
    n_predicted += static_cast<std::int64_t>(values.size());
    for (const float value : values) nll_sum += value;
  }
  double mean_nll() const { return nll_sum / static_cast<double>(n_predicted); }
  double value() const { return std::exp(mean_nll()); }
  // Error: a token of the text is impossible under the model.
  void check() const {
    if (!std::isfinite(mean_nll()))
      throw Error("perplexity: not a finite number: the model gives a token no probability at all");
  }
};

class Ppl final : public Command {
 public:
  explicit Ppl(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  void check_usage() const;
  bool is_study() const;
  void run_study() const;
  std::vector<Token> all_tokens(const Model& model) const;
  TokenSource open_source() const;
  Perplexity measure(Stream& stream, TokenSource& source, std::optional<NllFile>& nll) const;
  void report(const Stream& stream, const Perplexity& perplexity, double seconds) const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  std::vector<std::string> text_paths_;
  std::string tokens_path_;
  std::string nll_path_;
  std::int64_t limit_ = 0;
  std::string folder_;
  std::int64_t dense_tokens_ = 16384;
  std::int64_t recompute_tokens_ = 1000;
  bool is_json_ = false;
};

Ppl::Ppl(CLI::App& program)
    : app_(program.add_subcommand("ppl", "Measure perplexity on a text of any length")) {
  app_->footer(kPplExamples);
  model_.add_to(*app_);
  CLI::Option* text =
      app_->add_option("TEXT", text_paths_, "Texts, joined into one stream; -: standard input")
          ->type_name("FILE");
  app_->add_option("--tokens", tokens_path_,
                   "Token ids instead of a text: a JSON list, or an object with one as \"tokens\"")
      ->type_name("FILE")
      ->excludes(text);
  app_->add_option("--nll", nll_path_,
                   "Write the value of each predicted token here, a JSON list; of one policy and "
                   "one text")
      ->type_name("FILE");
  app_->add_option("--limit", limit_, "Only the first N tokens; 0: all")
      ->type_name("N")
      ->check(whole_within(0, std::int64_t{1} << 62));
  app_->add_flag("--json", is_json_, "The result as one JSON object");
  app_->add_option(
          "-o,--output", folder_,
          "Folder for tables, curves, a picture and every value; a stopped run goes on there")
      ->type_name("FOLDER");
  app_->add_option("--dense-tokens", dense_tokens_,
                   "Of several policies: how far dense attention goes; 0: to the end")
      ->type_name("N")
      ->check(whole_within(0, std::int64_t{1} << 40));
  app_->add_option(
          "--recompute-tokens", recompute_tokens_,
          "Of several policies: positions past the cache that are recomputed, evenly spread "
          "on a logarithmic axis; 0: all")
      ->type_name("N")
      ->check(whole_within(0, std::int64_t{1} << 40));
  stream_.add_several_to(*app_);
  app_->callback([this] { check_usage(); });
}

void Ppl::check_usage() const {
  if (text_paths_.empty() && tokens_path_.empty()) throw CLI::RequiredError("TEXT or --tokens");
  if (!nll_path_.empty() && is_study()) {
    throw CLI::ValidationError(
        "--nll", "want one policy, one text and no -o, whose folder has the values of each policy");
  }
}

void Ppl::run() {
  if (is_study()) {
    run_study();
    return;
  }
  TokenSource source = open_source();
  const Model model = model_.load();
  Stream stream = model.open(stream_.options());
  std::optional<NllFile> nll;
  if (!nll_path_.empty()) nll.emplace(nll_path_);

  const Stopwatch watch;
  const Perplexity perplexity = measure(stream, source, nll);
  if (perplexity.n_predicted == 0) {
    throw Error(fmt::format("{}: want at least two tokens to predict one",
                            tokens_path_.empty() ? text_paths_.front() : tokens_path_));
  }
  perplexity.check();
  if (nll) nll->commit();
  report(stream, perplexity, watch.seconds());
}

bool Ppl::is_study() const {
  return stream_.policies().size() > 1 || text_paths_.size() > 1 || !folder_.empty();
}

void Ppl::run_study() const {
  const Model model = model_.load();
  run_ppl_study(model, all_tokens(model),
                {.options = {.policies = stream_.policies(),
                             .stream = stream_.options(),
                             .dense_tokens = dense_tokens_,
                             .recompute_tokens = recompute_tokens_},
                 .folder = folder_,
                 .is_json = is_json_});
}

std::vector<Token> Ppl::all_tokens(const Model& model) const {
  const std::size_t limit = limit_ == 0 ? SIZE_MAX : static_cast<std::size_t>(limit_);
  std::vector<Token> tokens;
  if (!tokens_path_.empty()) {
    const StopSignals stop;
    tokens = TokenSource::from_json(tokens_path_).next(limit, stop);
  } else {
    std::string text;
    for (const std::string& path : text_paths_) text += read_file(path);
    tokens = model.tokenize(text);
  }
  if (tokens.size() > limit) tokens.resize(limit);
  return tokens;
}

TokenSource Ppl::open_source() const {
  if (!tokens_path_.empty()) return TokenSource::from_json(tokens_path_);
  return TokenSource::from_text(model_.path(), text_paths_.front());
}

Perplexity Ppl::measure(Stream& stream, TokenSource& source, std::optional<NllFile>& nll) const {
  const StopSignals stop;
  const Stopwatch watch;
  StatusLine status;
  Perplexity perplexity;
  std::int64_t n_left = limit_ == 0 ? INT64_MAX : limit_;
  while (n_left > 0 && !stop.requested()) {
    const auto n_wanted = static_cast<std::size_t>(std::min<std::int64_t>(n_left, kTokensAtOnce));
    const std::vector<Token> tokens = source.next(n_wanted, stop);
    if (tokens.empty()) break;
    n_left -= static_cast<std::int64_t>(tokens.size());
    const std::vector<float> values =
        stream.score(tokens, [&](std::int64_t) { return !stop.requested(); });
    perplexity.add(values);
    if (nll) nll->add(values);
    if (!status.is_due() || perplexity.n_predicted == 0) continue;
    double share = source.share_done().value_or(0);
    if (limit_ > 0)
      share = std::max(share, 1 - static_cast<double>(n_left) / static_cast<double>(limit_));
    const double seconds = watch.seconds();
    status.show(
        fmt::format(" {} · {} tokens · perplexity {:.3f} · {} · {} left", progress_bar(share),
                    grouped(perplexity.n_predicted), perplexity.value(),
                    rate_text(static_cast<double>(perplexity.n_predicted) / seconds),
                    share > 0 ? seconds_text(seconds * (1 - share) / share) : std::string("?")));
  }
  status.close();
  stop.tell_unfinished();
  return perplexity;
}

void Ppl::report(const Stream& stream, const Perplexity& perplexity, double seconds) const {
  const double rate = static_cast<double>(perplexity.n_predicted) / seconds;
  if (is_json_) {
    Json json = {{"perplexity", perplexity.value()},
                 {"mean_nll", perplexity.mean_nll()},
                 {"predicted_tokens", perplexity.n_predicted},
                 {"seconds", seconds},
                 {"tokens_per_second", rate}};
    json.update(stream_json(stream));
    print_out(json.dump(2) + "\n");
    return;
  }
  const StreamOptions& options = stream.options();
  std::string cache = policy_name(options.policy);
  if (options.policy != Policy::kDense) {
    cache += fmt::format(", {} sinks, window {}", options.sinks, window_text(options));
  }
  print_out(
      fmt::format("perplexity   {:.4f}\nmean nll     {:.6f}\ntokens       {} predicted\n"
                  "time         {} ({})\npolicy       {}, {} cache of {}\n",
                  perplexity.value(), perplexity.mean_nll(), grouped(perplexity.n_predicted),
                  seconds_text(seconds), rate_text(rate), cache, kv_type_name(options.kv_type),
                  bytes_text(stream.bytes())));
}

}  // namespace

std::unique_ptr<Command> add_ppl(CLI::App& program) { return std::make_unique<Ppl>(program); }

}  // namespace runnel::cli
