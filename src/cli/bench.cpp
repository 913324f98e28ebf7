// runnel bench: how fast this model is on this machine, once the cache is full.
//
// Each measurement is a function from the prepared stream to seconds; the report shows the median
// and the spread over the runs. The text is random tokens from a fixed seed: speed does not depend
// on the words.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/resident_memory.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/numbers.h"
#include "cli/signals.h"
#include "cli/stream_report.h"
#include "cli/terminal.h"
#include "cli/validators.h"
#include "engine/internals.h"
#include "engine/machine_limits.h"
#include "engine/option_names.h"
#include "engine/step_profile.h"
#include "model/make_model.h"

namespace runnel::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kBenchExamples = R"(Examples:
  runnel bench model.gguf
  runnel bench --shape llama-2-7b --type q4_k_m       random weights of a real shape: no download
  runnel bench model.gguf --streams 16 --latency 20000
  runnel bench model.gguf --profile
  runnel bench model.gguf --start 2000000
  runnel bench --shape llama-2-7b --type q8_0 --device gpu
  runnel bench model.gguf --window 1000 --kv-type q8_0 --threads 2
  runnel bench model.gguf --ingest 4096 --decode 256 --runs 9 --json

Everything is measured past the window, where every token evicts one: the steady state of an endless
stream. Time to first token is that of a fresh stream with a prompt of --prompt tokens. "of limit" is
the part of the memory bandwidth that decode uses (weights and cache read for a token) and the part of
the arithmetic peak that ingestion uses (each product against the peak of the numbers it multiplies,
and of its type's weights where products of bytes are added in 16 bits for as long as these fit).
The limits are measured on the same threads with the same instructions, memory eight times within every
run of decode: on a machine with neighbours it changes. With --device the limits are the rate at which
the device copies its own memory and what its integer dots and floats multiply in registers.
--profile shows where the time of a token goes, by parts of a layer:
of one written by what each part reads of its weights, of one read by what it multiplies.
Shapes and types: see runnel make-model --help.)";

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
  double quantile(double q) const {
    return values_[static_cast<std::size_t>(q * static_cast<double>(values_.size() - 1))];
  }
  double low() const { return values_.front(); }
  double high() const { return values_.back(); }
  Json json() const { return {{"median", median()}, {"min", low()}, {"max", high()}}; }

 private:
  std::vector<double> values_;
};

struct Measured {
  TokenWork work;
  Peaks peaks;
  Readings read_rate{{0}};  // bytes/s
  double load_seconds = 0;
  std::size_t resident_bytes = 0;  // before the limits were measured, which takes memory too
  std::size_t peak_resident_bytes = 0;
  Readings ingest{{0}};                    // tokens/s
  Readings decode{{0}};                    // tokens/s
  Readings decode_part{{0}};               // of the memory bandwidth
  Readings first_token{{0}};               // seconds
  Readings together{{0}};                  // tokens/s of all streams, with --streams
  Readings times_one{{0}};                 // of one stream's speed in the same run
  Readings latency{{0}};                   // seconds of single steps, with --latency
  std::vector<PartProfile> read, written;  // of a token, with --profile
  std::vector<PartProfile> written_together;
  double launches = 0;  // of a decoded token, on a device

  double ingest_part() const {  // of the arithmetic peak
    return ingest.median() * work.least_seconds(peaks);
  }
};

class Bench final : public Command {
 public:
  explicit Bench(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  std::vector<Token> random_tokens(const Model& model, std::int64_t n);
  Stream open(const Model& model) const;
  Stream filled_stream(const Model& model);
  double ingest_rate(const Model& model, Stream& stream);
  void measure_decode(const Model& model, Stream& stream, Measured& measured) const;
  double first_token_seconds(const Model& model);
  void measure_together(Stream& alone, std::span<Stream* const> streams, Measured& measured) const;
  Readings step_latency(Stream& stream) const;
  void measure_parts(const Model& model, Stream& stream, Measured& measured);
  void measure_parts(const Model& model, std::span<Stream* const> streams,
                     Measured& measured) const;
  Model load_model();
  template <typename Measure>
  Readings repeat(const char* name, Measure measure) const;
  void print_json(const Model& model, const Stream& stream, const Measured& measured) const;
  void report(const Model& model, const Stream& stream, const Measured& measured) const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  int n_ingest_ = 2048;
  int n_decode_ = 128;
  int n_prompt_ = 512;
  int n_runs_ = 5;
  int n_streams_ = 1;
  int n_latency_ = 0;
  std::int64_t start_ = 0;
  std::string shape_;
  std::string type_ = "q4_0";
  bool is_json_ = false;
  bool is_profile_ = false;
  std::mt19937_64 random_{20230917};
};

Bench::Bench(CLI::App& program)
    : app_(program.add_subcommand("bench", "Measure speed and memory past the window")) {
  app_->footer(kBenchExamples);
  model_.add_to(*app_);
  app_->add_option("--shape", shape_, "Instead of MODEL: random weights of a real model's shape")
      ->type_name("NAME");
  app_->add_option("--type", type_, "How the matrices of --shape are stored")->type_name("TYPE");
  const auto add_count = [this](const char* flag, int& target, const char* description) {
    app_->add_option(flag, target, description)->type_name("N")->check(whole_within(1, 1 << 30));
  };
  add_count("--ingest", n_ingest_, "Tokens read in a run");
  add_count("--decode", n_decode_, "Tokens written in a run");
  add_count("--prompt", n_prompt_, "Tokens of the prompt before a first token");
  add_count("--runs", n_runs_, "Runs of each measurement");
  add_count("--streams", n_streams_, "Also write to so many streams together in one step");
  app_->add_option("--latency", n_latency_, "Also time so many single decode steps")
      ->type_name("N")
      ->check(whole_within(0, 1 << 30));
  app_->add_option("--start", start_,
                   "Position of a stream's first token, as if it had run so long")
      ->type_name("N")
      ->check(whole_within(0, std::int64_t{1} << 40));
  app_->add_flag("--profile", is_profile_, "Also where the time of a token goes");
  app_->add_flag("--json", is_json_, "The result as one JSON object");
  stream_.add_to(*app_);
  stream_.add_draft_to(*app_);
}

void Bench::run() {
  Measured measured;
  if (model_.is_given() && !shape_.empty())
    throw CLI::ValidationError("--shape", "want MODEL or --shape, found both");
  const Stopwatch load;
  const Model model = load_model();
  measured.load_seconds = load.seconds();
  measured.first_token = repeat("first token", [&] { return first_token_seconds(model); });
  Stream stream = filled_stream(model);
  measured.ingest = repeat("ingestion", [&] { return ingest_rate(model, stream); });
  measured.work = token_work(model, stream.options());
  if (n_latency_ > 0) measured.latency = step_latency(stream);
  if (n_streams_ > 1) {
    std::vector<Stream> streams;
    std::vector<Stream*> pointers;
    streams.reserve(static_cast<std::size_t>(n_streams_));
    for (int i = 0; i < n_streams_; ++i)
      pointers.push_back(&streams.emplace_back(filled_stream(model)));
    measure_together(stream, pointers, measured);
    if (is_profile_) measure_parts(model, pointers, measured);
  }
  measured.resident_bytes = resident_bytes();
  measured.peak_resident_bytes = peak_resident_bytes();
  measured.peaks = measure_peaks(model, 0.5);
  measure_decode(model, stream, measured);
  if (is_profile_) measure_parts(model, stream, measured);
  is_json_ ? print_json(model, stream, measured) : report(model, stream, measured);
}

Model Bench::load_model() {
  if (shape_.empty()) return model_.load();
  return Model::Internals::take(make_model(find_shape(shape_, ""), StorageType::parse(type_), 0),
                                fmt::format("{} of random {}", shape_, type_), model_.options());
}

// A run takes turns with one stream alone, for the machine changes with its neighbours.
void Bench::measure_together(Stream& alone, std::span<Stream* const> streams, Measured& m) const {
  const int n_steps = std::max(1, n_decode_ / 8);
  std::vector<double> times_one;
  m.together = repeat("streams together", [&] {
    double seconds = 0;
    double seconds_alone = 0;
    for (int step = 0; step < n_decode_; step += n_steps) {
      const int end = std::min(n_decode_, step + n_steps);
      const Stopwatch of_one;
      for (int i = step; i < end; ++i) alone.next();
      seconds_alone += of_one.seconds();
      const Stopwatch of_all;
      for (int i = step; i < end; ++i) Stream::next(streams);
      seconds += of_all.seconds();
    }
    times_one.push_back(n_streams_ * seconds_alone / seconds);
    return n_decode_ * n_streams_ / seconds;
  });
  times_one.erase(times_one.begin());  // the run to warm up
  m.times_one = Readings(std::move(times_one));
}

Readings Bench::step_latency(Stream& stream) const {
  StatusLine status;
  std::vector<double> seconds;
  seconds.reserve(static_cast<std::size_t>(n_latency_));
  for (int i = 0; i < n_latency_; ++i) {
    const Stopwatch watch;
    stream.next();
    seconds.push_back(watch.seconds());
    if (status.is_due())
      status.show(fmt::format(" measuring latency: step {} of {}", i, n_latency_));
  }
  return Readings(std::move(seconds));
}

void Bench::measure_parts(const Model& model, Stream& stream, Measured& measured) {
  {
    const StepProfile profile(model, stream.options());
    ingest_rate(model, stream);
    measured.read = profile.parts(n_ingest_);
  }
  const StepProfile profile(model, stream.options());
  for (int i = 0; i < n_decode_; ++i) stream.next();
  measured.written = profile.parts(n_decode_);
}

void Bench::measure_parts(const Model& model, std::span<Stream* const> streams,
                          Measured& measured) const {
  const StepProfile profile(model, streams.front()->options());
  for (int i = 0; i < n_decode_; ++i) Stream::next(streams);
  measured.written_together = profile.parts(n_decode_ * n_streams_);
}

std::vector<Token> Bench::random_tokens(const Model& model, std::int64_t n) {
  std::vector<Token> tokens(static_cast<std::size_t>(n));
  for (Token& token : tokens) {
    token = static_cast<Token>(random_() % static_cast<std::uint64_t>(model.vocabulary_size()));
  }
  return tokens;
}

Stream Bench::open(const Model& model) const {
  StreamOptions options = stream_.options();
  options.start_position = start_;
  return model.open(options);
}

// Past the window, so that every further token evicts one.
Stream Bench::filled_stream(const Model& model) {
  Stream stream = open(model);
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

// A run of decode stops eight times to measure memory, which changes with the neighbours.
void Bench::measure_decode(const Model& model, Stream& stream, Measured& measured) const {
  const int n_steps = std::max(1, n_decode_ / 8);
  Device* const device = model.internals().device.get();
  std::optional<MemoryReader> memory;
  if (device == nullptr) memory.emplace(model);
  const std::uint64_t launches_before = model.device().launches;
  std::vector<double> read_rates;
  std::vector<double> parts;
  measured.decode = repeat("decode", [&] {
    double seconds = 0;
    double readable_bytes = 0;  // in that time
    for (int step = 0; step < n_decode_; step += n_steps) {
      const Stopwatch watch;
      for (int i = step; i < std::min(n_decode_, step + n_steps); ++i) stream.next();
      const double took = watch.seconds();
      seconds += took;
      readable_bytes += took * (memory ? memory->rate() : device->copy_rate());
    }
    read_rates.push_back(readable_bytes / seconds);
    parts.push_back(n_decode_ * measured.work.read_bytes / readable_bytes);
    return n_decode_ / seconds;
  });
  measured.launches = static_cast<double>(model.device().launches - launches_before) /
                      (static_cast<double>(n_decode_) * (n_runs_ + 1));
  read_rates.erase(read_rates.begin());  // the run to warm up
  parts.erase(parts.begin());
  measured.read_rate = Readings(std::move(read_rates));
  measured.decode_part = Readings(std::move(parts));
}

double Bench::first_token_seconds(const Model& model) {
  const std::vector<Token> prompt = random_tokens(model, n_prompt_);
  const Stopwatch watch;
  Stream stream = open(model);
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

void Bench::print_json(const Model& model, const Stream& stream, const Measured& m) const {
  Json peaks;
  for (std::size_t i = 0; i < m.peaks.numbers.size(); ++i) {
    if (m.peaks.numbers[i] > 0) peaks[kNumberNames[i]] = m.peaks.numbers[i];
  }
  Json type_peaks = Json::object();
  for (const auto& [type, peak] : m.peaks.types) type_peaks[traits(type).name] = peak;
  Json json = {{"model", model.name()},
               {"instruction_set", model.instruction_set()},
               {"threads", model.threads()},
               {"read_bytes_per_second", m.read_rate.json()},
               {"multiply_adds_per_second", peaks},
               {"multiply_adds_per_second_by_type", type_peaks},
               {"load_seconds", m.load_seconds},
               {"first_token_seconds", m.first_token.json()},
               {"ingest_tokens_per_second", m.ingest.json()},
               {"ingest_part_of_peak", m.ingest_part()},
               {"decode_tokens_per_second", m.decode.json()},
               {"decode_bytes_per_token", m.work.read_bytes},
               {"decode_part_of_bandwidth", m.decode_part.json()},
               {"weight_bytes", model.weight_bytes()},
               {"resident_bytes", m.resident_bytes},
               {"peak_resident_bytes", m.peak_resident_bytes}};
  if (n_streams_ > 1)
    json["streams"] = {{"count", n_streams_},
                       {"tokens_per_second", m.together.json()},
                       {"times_one_stream", m.times_one.json()}};
  if (n_latency_ > 0) {
    json["latency_seconds"] = {{"steps", n_latency_},
                               {"median", m.latency.median()},
                               {"p99", m.latency.quantile(0.99)},
                               {"p999", m.latency.quantile(0.999)},
                               {"max", m.latency.high()}};
  }
  for (const auto& [name, parts] : {std::pair{"read", &m.read}, std::pair{"written", &m.written},
                                    std::pair{"written_together", &m.written_together}}) {
    for (const PartProfile& part : *parts) {
      json["profile"][name].push_back({{"part", part.part},
                                       {"kernels", part.kernels},
                                       {"seconds", part.seconds},
                                       {"weight_bytes", part.weight_bytes},
                                       {"multiply_adds", part.multiply_adds}});
    }
  }
  if (const Model::DeviceUse device = model.device(); !device.is_cpu) {
    json["device"] = {{"name", device.name},
                      {"layers", device.layers},
                      {"memory_bytes", device.memory_bytes},
                      {"launches_per_token", m.launches}};
  }
  json.update(stream_json(stream));
  print_out(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// Which rate a profile says of products: where few tokens pass, weights are read; many are
// multiplied.
enum class RateOf { kWeights, kPairs };

// A table of the parts of a token.
std::string parts_text(std::string_view title, const std::vector<PartProfile>& parts,
                       RateOf rate_of, bool has_all_logits) {
  double total = 0;
  for (const PartProfile& part : parts) total += part.seconds;
  std::string text = fmt::format("\n{}: {:.1f} us\n", title, total * 1e6);
  for (const PartProfile& part : parts) {
    const bool is_of_pairs = rate_of == RateOf::kPairs;
    const bool is_of_all = has_all_logits || part.part != "logits";
    const double rate =
        (is_of_pairs ? part.multiply_adds : part.weight_bytes) / part.seconds * 1e-9;
    text += fmt::format("  {:<21}{:>10.1f} us{:>6.1f} %   {:<16}{}\n", part.part,
                        part.seconds * 1e6, 100 * part.seconds / total,
                        rate > 0 && is_of_all
                            ? fmt::format("{:.0f} {}", rate, is_of_pairs ? "G pairs/s" : "GB/s")
                            : "",
                        part.kernels);
  }
  return text;
}

std::string peaks_text(const Peaks& peaks) {
  std::string text;
  const auto add = [&text](double rate, std::string_view name) {
    if (rate > 0) text += fmt::format("{}{:.0f} G {}", text.empty() ? "" : ", ", rate * 1e-9, name);
  };
  for (std::size_t i = 0; i < peaks.numbers.size(); ++i) {
    if (i != static_cast<std::size_t>(kernels::Numbers::kInt8) || peaks.types.empty())
      add(peaks.numbers[i], kNumberNames[i]);
  }
  for (const auto& [type, rate] : peaks.types)
    add(rate, fmt::format("int8 by {}", traits(type).name));
  return text;
}

// The limits that speeds are parts of.
std::string limits_text(const Model& model, const Measured& measured) {
  const Model::DeviceUse device = model.device();
  const double read_rate = measured.read_rate.median() * 1e-9;
  const std::string peaks = peaks_text(measured.peaks);
  if (device.is_cpu)
    return fmt::format("this machine: reads {:.1f} GB/s, multiplies {} pairs a second", read_rate,
                       peaks);
  return fmt::format(
      "{}: {} of {} layers, copies {:.1f} GB/s (read and written), multiplies {} "
      "pairs a second",
      device.name, device.layers, model.layers(), read_rate, peaks);
}

void Bench::report(const Model& model, const Stream& stream, const Measured& measured) const {
  const StreamOptions& options = stream.options();
  const Model::DeviceUse device = model.device();
  std::string text = fmt::format(
      "{}: {} kernels, {} threads\npolicy {}, {} sinks, window {}, {} cache, past the window\n"
      "{}\n\n"
      "{:<22}{:>18}   {}\n",
      model.name(), model.instruction_set(), model.threads(), policy_name(options.policy),
      options.sinks, options.policy == Policy::kDense ? "infinite" : window_text(options),
      kv_type_name(options.kv_type), limits_text(model, measured), "", "median",
      fmt::format("lowest to highest of {}", n_runs_));
  const auto add_row = [&text](std::string_view name, const Readings& readings, auto in_words) {
    text += fmt::format("{:<22}{:>18}   {} to {}\n", name, in_words(readings.median()),
                        in_words(readings.low()), in_words(readings.high()));
  };
  add_row("ingestion", measured.ingest, rate_text);
  text += fmt::format("{:<22}{:>17.0f} %   of the arithmetic peak\n", "ingestion of limit",
                      100 * measured.ingest_part());
  add_row("decode", measured.decode, rate_text);
  add_row("decode of limit", measured.decode_part,
          [](double part) { return fmt::format("{:.0f} %", 100 * part); });
  if (device.is_cpu &&
      measured.work.read_bytes < static_cast<double>(::sysconf(_SC_LEVEL3_CACHE_SIZE)))
    text += fmt::format("{:<22}{:>18}   the processor's caches hold all of it\n", "", "");
  if (!device.is_cpu)
    text += fmt::format("{:<22}{:>18.0f}   of {} taken there\n", "launches a token",
                        measured.launches, bytes_text(device.memory_bytes));
  add_row(device.is_cpu ? "memory reads" : "memory copies", measured.read_rate,
          [](double rate) { return fmt::format("{:.1f} GB/s", rate * 1e-9); });
  text += fmt::format("{:<22}{:>18}   weights and cache\n", "bytes read a token",
                      bytes_text(static_cast<std::size_t>(measured.work.read_bytes)));
  if (n_streams_ > 1) {
    add_row(fmt::format("{} streams together", n_streams_), measured.together, rate_text);
    add_row("of one stream's speed", measured.times_one,
            [](double times) { return fmt::format("{:.1f} times", times); });
  }
  add_row("time to first token", measured.first_token, seconds_text);
  if (n_latency_ > 0) {
    text += fmt::format("{:<22}{:>18}   99 %: {}, 99.9 %: {}, slowest: {} of {} steps\n",
                        "decode latency", seconds_text(measured.latency.median()),
                        seconds_text(measured.latency.quantile(0.99)),
                        seconds_text(measured.latency.quantile(0.999)),
                        seconds_text(measured.latency.high()), n_latency_);
  }
  text += fmt::format("{:<22}{:>18}\n", "model load", seconds_text(measured.load_seconds));
  text += fmt::format("{:<22}{:>18}\n", "weights", bytes_text(model.weight_bytes()));
  text += fmt::format("{:<22}{:>18}\n", "cache", bytes_text(stream.bytes()));
  text += fmt::format("{:<22}{:>18}\n", "resident memory", bytes_text(measured.resident_bytes));
  if (is_profile_) {
    text += parts_text("a token that is read", measured.read, RateOf::kPairs, false) +
            parts_text("a token that is written", measured.written, RateOf::kWeights, true);
    if (n_streams_ > 1)
      text += parts_text(fmt::format("a token of {} streams that are written together", n_streams_),
                         measured.written_together, RateOf::kPairs, true);
  }
  print_out(text);
}

}  // namespace

std::unique_ptr<Command> add_bench(CLI::App& program) { return std::make_unique<Bench>(program); }

}  // namespace runnel::cli
