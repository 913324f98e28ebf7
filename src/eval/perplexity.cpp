#include "eval/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/option_names.h"
#include "eval/section.h"
#include "eval/statistics.h"

namespace runnel::eval {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr std::int64_t kBlock = 256;  // tokens between two looks at the request to stop

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// FNV-1a over the token ids: whether a state belongs to these tokens.
std::string hash_text(std::span<const Token> tokens) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const Token token : tokens) {
    hash ^= static_cast<std::uint32_t>(token);
    hash *= 0x100000001b3;
  }
  return fmt::format("{:016x}", hash);
}

Json options_json(const NllSeries& series) {
  return {{"policy", series.name()},
          {"sinks", series.options.sinks},
          {"window", series.options.window.value_or(0)},
          {"kv_type", kv_type_name(series.options.kv_type)},
          {"softmax", softmax_name(*series.options.softmax)}};
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <typename T>
std::vector<T> values_in(const std::filesystem::path& path, std::size_t n) {
  const std::string bytes = read_file(path);
  if (bytes.size() != n * sizeof(T)) {
    throw Error(
        fmt::format("{}: want {} bytes, found {}", path.string(), n * sizeof(T), bytes.size()));
  }
  std::vector<T> values(n);
  if (n > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

std::string NllSeries::name() const { return policy_name(options.policy); }

StreamOptions options_of(const Model& model, const StreamOptions& base, Policy policy) {
  StreamOptions options = base;
  options.policy = Policy::kSink;
  options = model.resolve(options);
  if (policy == Policy::kWindow) {
    options.window = *options.window + options.sinks;
    for (std::int64_t& window : options.layer_windows) window += options.sinks;
  }
  options.policy = policy;
  return model.resolve(options);
}

PerplexityRun::PerplexityRun(const Model& model, std::span<const Token> tokens,
                             PerplexityOptions options)
    : model_(model), tokens_(tokens), options_(std::move(options)) {
  for (const Policy policy : options_.policies) {
    series_.push_back({.options = options_of(model, options_.stream, policy)});
    if (policy == Policy::kRecompute) choose_samples(series_.back());
  }
  if (!options_.state.empty() && std::filesystem::exists(options_.state / "state.json")) {
    resume();
  } else {
    open_streams();
  }
}

void PerplexityRun::open_streams() {
  for (const NllSeries& series : series_) {
    auto& stream = streams_.emplace_back();
    if (series.options.policy != Policy::kRecompute) stream.emplace(model_.open(series.options));
  }
}

// Every position the cache holds whole, then some of those past it.
void PerplexityRun::choose_samples(const NllSeries& series) {
  const auto last = static_cast<std::int64_t>(tokens_.size()) - 1;
  const std::int64_t n_whole = std::min(last, series.cache_tokens() + 1);
  for (std::int64_t position = 1; position <= n_whole; ++position) samples_.push_back(position);
  const std::int64_t n_left = last - n_whole;
  const std::int64_t n_wanted =
      options_.recompute_tokens == 0 ? n_left : std::min(n_left, options_.recompute_tokens);
  if (n_wanted == n_left) {
    for (std::int64_t position = n_whole + 1; position <= last; ++position)
      samples_.push_back(position);
  } else {
    const auto spread = log_spaced(n_whole + 1, last, n_wanted);
    samples_.insert(samples_.end(), spread.begin(), spread.end());
  }
}

bool PerplexityRun::run(const Progress& progress) {
  const auto n = static_cast<std::int64_t>(tokens_.size());
  Clock::time_point saved = Clock::now();
  while (position_ < n) {
    if (!goes_on(progress, static_cast<double>(position_) / static_cast<double>(n))) break;
    score_block(tokens_.subspan(static_cast<std::size_t>(position_),
                                static_cast<std::size_t>(std::min(kBlock, n - position_))));
    if (seconds_since(saved) > options_.seconds_between_saves) {
      save();
      saved = Clock::now();
    }
  }
  save();
  return position_ == n;
}

void PerplexityRun::score_block(std::span<const Token> block) {
  const std::int64_t end = position_ + static_cast<std::int64_t>(block.size());
  for (std::size_t i = 0; i < series_.size(); ++i) {
    const Clock::time_point start = Clock::now();
    if (streams_[i]) {
      score_policy(i, block);
    } else {
      recompute_block(series_[i], end);
    }
    series_[i].seconds += seconds_since(start);
  }
  position_ = end;
}

void PerplexityRun::score_policy(std::size_t i, std::span<const Token> block) {
  NllSeries& series = series_[i];
  const bool is_dense = series.options.policy == Policy::kDense;
  if (is_dense && options_.dense_tokens > 0) {
    const std::int64_t n_left = std::max<std::int64_t>(options_.dense_tokens - position_, 0);
    block = block.first(std::min(block.size(), static_cast<std::size_t>(n_left)));
  }
  if (block.empty()) return;
  const std::vector<float> nll = streams_[i]->score(block);
  std::int64_t position =
      position_ + static_cast<std::int64_t>(block.size()) - static_cast<std::int64_t>(nll.size());
  for (const float value : nll) {
    series.positions.push_back(position++);
    series.nll.push_back(value);
  }
  series.cache_bytes = std::max(series.cache_bytes, streams_[i]->bytes());
}

void PerplexityRun::recompute_block(NllSeries& series, std::int64_t end) {
  series.cache_bytes = model_.stream_bytes(series.options);
  while (series.positions.size() < samples_.size()) {
    const std::int64_t position = samples_[series.positions.size()];
    if (position >= end) return;
    series.nll.push_back(recompute(series.options, position));
    series.positions.push_back(position);
  }
}

// What the token before `position` sees, through a fresh dense stream; then the value of the token
// at `position`.
float PerplexityRun::recompute(const StreamOptions& options, std::int64_t position) const {
  const auto n_before = static_cast<std::size_t>(position);
  const auto n_sinks = static_cast<std::size_t>(options.sinks);
  const auto n_recent = static_cast<std::size_t>(*options.window) + 1;
  StreamOptions dense = options;
  dense.policy = Policy::kDense;
  dense.window.reset();
  Stream stream = model_.open(dense);
  if (n_before <= n_sinks + n_recent) {
    stream.feed(tokens_.first(n_before));
  } else {
    std::vector<Token> visible(tokens_.begin(),
                               tokens_.begin() + static_cast<std::ptrdiff_t>(n_sinks));
    const auto recent = tokens_.subspan(n_before - n_recent, n_recent);
    visible.insert(visible.end(), recent.begin(), recent.end());
    stream.feed(visible);
  }
  return stream.score(std::array{tokens_[n_before]}).front();
}

// ---- the state of a long run
//
// A folder: state.json names a generation, whose files G-POLICY.stream, .nll and .positions lie
// beside it. A new generation is written whole before state.json is replaced; then the old one
// goes.

struct PerplexityRun::StateFiles {
  std::filesystem::path folder;
  std::int64_t generation;

  std::filesystem::path file(const NllSeries& series, const char* ending) const {
    return folder / fmt::format("{}-{}.{}", generation, series.name(), ending);
  }
};

void PerplexityRun::save() const {
  if (options_.state.empty()) return;
  make_folder(options_.state);
  const StateFiles files = {options_.state, position_};
  Json list = Json::array();
  for (std::size_t i = 0; i < series_.size(); ++i) {
    const NllSeries& series = series_[i];
    if (streams_[i]) streams_[i]->save(files.file(series, "stream"));
    write_file(files.file(series, "nll"), bytes_of(series.nll));
    write_file(files.file(series, "positions"), bytes_of(series.positions));
    Json entry = options_json(series);
    entry["values"] = series.nll.size();
    entry["seconds"] = series.seconds;
    entry["cache_bytes"] = series.cache_bytes;
    list.push_back(std::move(entry));
  }
  const Json state = {{"position", position_},
                      {"tokens", hash_text(tokens_.first(static_cast<std::size_t>(position_)))},
                      {"series", list}};
  write_file(options_.state / "state.json", state.dump(2) + "\n");
  const std::string prefix = fmt::format("{}-", position_);
  for (const auto& entry : std::filesystem::directory_iterator(options_.state)) {
    const std::string name = entry.path().filename().string();
    if (name != "state.json" && !name.starts_with(prefix)) std::filesystem::remove(entry.path());
  }
}

void PerplexityRun::resume() {
  const std::filesystem::path path = options_.state / "state.json";
  const Json state = Json::parse(read_file(path), nullptr, false);
  try {
    position_ = state.at("position").get<std::int64_t>();
    const bool is_ours =
        position_ >= 0 && position_ <= static_cast<std::int64_t>(tokens_.size()) &&
        state.at("tokens") == hash_text(tokens_.first(static_cast<std::size_t>(position_)));
    if (!is_ours) throw Error(path.string() + ": an unfinished run over another text");
    const StateFiles files = {options_.state, position_};
    for (std::size_t i = 0; i < series_.size(); ++i) {
      NllSeries& series = series_[i];
      const Json entry = state.at("series").at(i);
      const Json wanted = options_json(series);
      for (const auto& [key, value] : wanted.items()) {
        if (entry.at(key) == value) continue;
        throw Error(fmt::format("{}: an unfinished run with other options: {}: want {}, found {}",
                                path.string(), key, value.dump(), entry.at(key).dump()));
      }
      series.seconds = entry.at("seconds").get<double>();
      series.cache_bytes = entry.at("cache_bytes").get<std::size_t>();
      const auto n = entry.at("values").get<std::size_t>();
      series.nll = values_in<float>(files.file(series, "nll"), n);
      series.positions = values_in<std::int64_t>(files.file(series, "positions"), n);
      auto& stream = streams_.emplace_back();
      if (series.options.policy != Policy::kRecompute)
        stream.emplace(model_.resume(files.file(series, "stream")));
    }
  } catch (const nlohmann::json::exception& error) {
    throw Error(
        fmt::format("{}: not the state of an unfinished run: {}", path.string(), error.what()));
  }
}

}  // namespace runnel::eval
