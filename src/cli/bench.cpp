// runnel bench: how fast this model is on this machine, once the cache is full.
//
// Each measurement is a function from the prepared stream to seconds; the report shows the median
// and the spread over the runs. The text is random tokens from a fixed seed: speed does not depend
// on the words.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/numbers.h"
#include "cli/signals.h"
#include "cli/stream_report.h"
#include "cli/terminal.h"
#include "cli/validators.h"

namespace runnel::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(Examples:
  runnel bench model.gguf
  runnel bench model.gguf --window 1000 --kv-type q8_0 --threads 2
  runnel bench model.gguf --ingest 4096 --decode 256 --runs 9 --json

Everything is measured past the window, where every token evicts one: the steady state of an endless
stream. Time to first token is that of a fresh stream with a prompt of --prompt tokens.)";

// Sorted readings of one quantity.
class Readings {
 public:
  explicit Readings(std::vector<double> values) : values_(std::move(values)) {
    std::sort(values_.begin(), values_.end());
  }
  double median() const {
    const std::size_t half = values_.size() / 2;
    return values_.size() % 2 == 1 ? values_[half] : (values_[half - 1] + values_[half]) / 2;
  }
  double low() const { return values_.front(); }
  double high() const { return values_.back(); }
  Json json() const { return {{"median", median()}, {"min", low()}, {"max", high()}}; }

 private:
  std::vector<double> values_;
};

struct Measured {
  double load_seconds = 0;
  Readings ingest{{0}};       // tokens/s
  Readings decode{{0}};       // tokens/s
  Readings first_token{{0}};  // seconds
};

class Bench final : public Command {
 public:
  explicit Bench(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  std::vector<Token> random_tokens(const Model& model, std::int64_t n);
  Stream filled_stream(const Model& model);
  double ingest_rate(const Model& model, Stream& stream);
  double decode_rate(Stream& stream) const;
  double first_token_seconds(const Model& model);
  template <typename Measure>
  Readings repeat(const char* name, Measure measure) const;
  void report(const Model& model, const Stream& stream, const Measured& measured) const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  int n_ingest_ = 2048;
  int n_decode_ = 128;
  int n_prompt_ = 512;
  int n_runs_ = 5;
  bool is_json_ = false;
  std::mt19937_64 random_{20230917};
};

Bench::Bench(CLI::App& program)
    : app_(program.add_subcommand("bench", "Measure speed and memory past the window")) {
  app_->footer(kFooter);
  model_.add_to(*app_);
  const auto add_count = [this](const char* flag, int& target, const char* description) {
    app_->add_option(flag, target, description)->type_name("N")->check(whole_within(1, 1 << 30));
  };
  add_count("--ingest", n_ingest_, "Tokens read in a run");
  add_count("--decode", n_decode_, "Tokens written in a run");
  add_count("--prompt", n_prompt_, "Tokens of the prompt before a first token");
  add_count("--runs", n_runs_, "Runs of each measurement");
  app_->add_flag("--json", is_json_, "The result as one JSON object");
  stream_.add_to(*app_);
}

void Bench::run() {
  Measured measured;
  const Stopwatch load;
  const Model model = model_.load();
  measured.load_seconds = load.seconds();
  measured.first_token = repeat("first token", [&] { return first_token_seconds(model); });
  Stream stream = filled_stream(model);
  measured.ingest = repeat("ingestion", [&] { return ingest_rate(model, stream); });
  measured.decode = repeat("decode", [&] { return decode_rate(stream); });
  report(model, stream, measured);
}

std::vector<Token> Bench::random_tokens(const Model& model, std::int64_t n) {
  std::vector<Token> tokens(static_cast<std::size_t>(n));
  for (Token& token : tokens) {
    token = static_cast<Token>(random_() % static_cast<std::uint64_t>(model.vocabulary_size()));
  }
  return tokens;
}

// Past the window, so that every further token evicts one.
Stream Bench::filled_stream(const Model& model) {
  Stream stream = model.open(stream_.options());
  const StreamOptions& options = stream.options();
  const bool grows = options.policy == Policy::kDense;
  stream.feed(
      random_tokens(model, grows ? n_prompt_ : options.sinks + options.window.value_or(0) + 16));
  return stream;
}

double Bench::ingest_rate(const Model& model, Stream& stream) {
  const std::vector<Token> tokens = random_tokens(model, n_ingest_);
  const Stopwatch watch;
  stream.feed(tokens);
  return n_ingest_ / watch.seconds();
}

double Bench::decode_rate(Stream& stream) const {
  const Stopwatch watch;
  for (int i = 0; i < n_decode_; ++i) stream.next();
  return n_decode_ / watch.seconds();
}

double Bench::first_token_seconds(const Model& model) {
  const std::vector<Token> prompt = random_tokens(model, n_prompt_);
  const Stopwatch watch;
  Stream stream = model.open(stream_.options());
  stream.feed(prompt);
  stream.next();
  return watch.seconds();
}

// One reading to warm up, then those that count.
template <typename Measure>
Readings Bench::repeat(const char* name, Measure measure) const {
  StatusLine status;
  std::vector<double> readings;
  for (int run = 0; run <= n_runs_; ++run) {
    status.show(fmt::format(" measuring {}: run {} of {}", name, run, n_runs_));
    const double reading = measure();
    if (run > 0) readings.push_back(reading);
  }
  return Readings(std::move(readings));
}

void Bench::report(const Model& model, const Stream& stream, const Measured& measured) const {
  if (is_json_) {
    Json json = {{"model", model.name()},
                 {"instruction_set", model.instruction_set()},
                 {"threads", model.threads()},
                 {"load_seconds", measured.load_seconds},
                 {"first_token_seconds", measured.first_token.json()},
                 {"ingest_tokens_per_second", measured.ingest.json()},
                 {"decode_tokens_per_second", measured.decode.json()},
                 {"weight_bytes", model.weight_bytes()},
                 {"resident_bytes", resident_bytes()},
                 {"peak_resident_bytes", peak_resident_bytes()}};
    json.update(stream_json(stream));
    print_out(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return;
  }
  const StreamOptions& options = stream.options();
  std::string text = fmt::format(
      "{}: {} kernels, {} threads\npolicy {}, {} sinks, window {}, {} cache, past the window\n\n"
      "{:<22}{:>18}   {}\n",
      model.name(), model.instruction_set(), model.threads(), policy_text(options.policy),
      options.sinks,
      options.policy == Policy::kDense ? "infinite" : grouped(options.window.value_or(0)),
      kv_type_text(options.kv_type), "", "median", fmt::format("lowest to highest of {}", n_runs_));
  const auto add_row = [&text](std::string_view name, const Readings& readings, auto in_words) {
    text += fmt::format("{:<22}{:>18}   {} to {}\n", name, in_words(readings.median()),
                        in_words(readings.low()), in_words(readings.high()));
  };
  add_row("ingestion", measured.ingest, rate_text);
  add_row("decode", measured.decode, rate_text);
  add_row("time to first token", measured.first_token, seconds_text);
  text += fmt::format("{:<22}{:>18}\n", "model load", seconds_text(measured.load_seconds));
  text += fmt::format("{:<22}{:>18}\n", "weights", bytes_text(model.weight_bytes()));
  text += fmt::format("{:<22}{:>18}\n", "cache", bytes_text(stream.bytes()));
  text += fmt::format("{:<22}{:>18}\n", "peak memory", bytes_text(peak_resident_bytes()));
  print_out(text);
}

}  // namespace

std::unique_ptr<Command> add_bench(CLI::App& program) { return std::make_unique<Bench>(program); }

}  // namespace runnel::cli
