#include "eval/ablation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "engine/internals.h"
#include "engine/option_names.h"

namespace runnel::eval {
namespace {

constexpr std::size_t kTokensAtOnce = 1024;  // between two looks at the request to stop

StreamOptions with_cache(const StreamOptions& base, int sinks, std::int64_t cache) {
  StreamOptions options = base;
  options.policy = sinks > 0 ? Policy::kSink : Policy::kWindow;
  options.sinks = sinks;
  options.window = cache - sinks;
  return options;
}

std::string cache_label(const StreamOptions& options) {
  return fmt::format("{} + {}", options.sinks, options.window.value_or(0));
}

Ablation sinks_ablation(const StreamOptions& base, std::int64_t cache) {
  Ablation ablation = {
      .name = "sinks",
      .title = "How many sinks",
      .about = fmt::format(
          "The first S tokens kept for ever beside the last W, {} in all; S = 0 is plain window "
          "attention.",
          cache),
      .first_column = "sinks + window"};
  for (const int sinks : {0, 1, 2, 4, 8}) {
    const StreamOptions options = with_cache(base, sinks, cache);
    ablation.rows.push_back({cache_label(options), options, {}});
  }
  return ablation;
}

Ablation window_ablation(const StreamOptions& base, std::int64_t cache) {
  Ablation ablation = {
      .name = "window",
      .title = "How long a window",
      .about =
          "The same sinks beside longer and longer windows. A longer window need not help: past "
          "the trained length the model has never seen such distances.",
      .first_column = "sinks + window"};
  const int sinks = std::max(base.sinks, 1);
  for (const std::int64_t size : {cache / 4, cache / 2, cache, cache * 2, cache * 4}) {
    if (size <= sinks) continue;
    const StreamOptions options = with_cache(base, sinks, size);
    ablation.rows.push_back({cache_label(options), options, {}});
  }
  return ablation;
}

// The token of "\n" in running text: the last one, where a tokenizer puts a space before it.
Token linebreak_token(const Model& model) {
  const std::vector<Token> tokens = model.tokenize("\n", false);
  if (tokens.empty()) throw Error(model.name() + ": the vocabulary has no token for a line break");
  return tokens.back();
}

Ablation linebreak_ablation(const Model& model, const StreamOptions& base, std::int64_t cache) {
  const Token linebreak = linebreak_token(model);
  const std::vector<Token> begin = model.tokenize("");  // BOS, or nothing
  const StreamOptions sinks = with_cache(base, 4, cache);
  Ablation ablation = {
      .name = "linebreak",
      .title = "Meaning or position",
      .about =
          "The stream's first four tokens, which are the sinks, replaced by line breaks: do "
          "they serve because of what they say or because of where they stand?",
      .first_column = "first tokens"};
  ablation.rows.push_back({"the text's own: " + cache_label(sinks), sinks, {}});
  if (!begin.empty()) {
    std::vector<Token> first = {begin.front()};
    first.resize(4, linebreak);
    ablation.rows.push_back({"BOS and three line breaks", sinks, first});
  }
  ablation.rows.push_back({"four line breaks", sinks, std::vector<Token>(4, linebreak)});
  const StreamOptions window = with_cache(base, 0, cache);
  ablation.rows.push_back({"no sinks: " + cache_label(window), window, {}});
  return ablation;
}

Ablation softmax_ablation(const StreamOptions& base, std::int64_t cache) {
  Ablation ablation = {
      .name = "softmax",
      .title = "Softmax",
      .about =
          "Off-by-one adds 1 to the denominator, a sink of zero key and value. It is meant to be "
          "trained with; here it is only switched on.",
      .first_column = "softmax, sinks + window"};
  for (const Softmax softmax : {Softmax::kStandard, Softmax::kOffByOne}) {
    for (const int sinks : {std::max(base.sinks, 1), 0}) {
      StreamOptions options = with_cache(base, sinks, cache);
      options.softmax = softmax;
      ablation.rows.push_back(
          {fmt::format("{}, {}", softmax_name(softmax), cache_label(options)), options, {}});
    }
  }
  return ablation;
}

Ablation kv_type_ablation(const StreamOptions& base, std::int64_t cache) {
  Ablation ablation = {.name = "kv-type",
                       .title = "Number format of the cache",
                       .about = "The same cache in smaller and smaller number formats.",
                       .first_column = "keys and values"};
  for (const KvType type :
       {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0, KvType::kQ4_0}) {
    StreamOptions options = with_cache(base, std::max(base.sinks, 1), cache);
    options.kv_type = type;
    ablation.rows.push_back({kv_type_name(type), options, {}});
  }
  return ablation;
}

// Layers that keep keys and values.
std::vector<int> layers_with_windows(const Model& model) {
  const Config& config = model.internals().config;
  std::vector<int> layers;
  for (int layer = 0; layer < config.n_layers; ++layer)
    if (config.has_keys(layer)) layers.push_back(layer);
  return layers;
}

Ablation layers_ablation(const Model& model, const StreamOptions& base, std::int64_t cache,
                         std::int64_t short_window) {
  const StreamOptions all_long = with_cache(base, std::max(base.sinks, 1), cache);
  const std::int64_t window = *all_long.window;
  if (short_window == 0) short_window = std::max<std::int64_t>(window / 8, 1);
  if (short_window >= window)
    throw Error(
        fmt::format("ablation layers: want a short window below the long one of {} tokens, "
                    "found {}",
                    window, short_window));
  Ablation ablation = {
      .name = "layers",
      .title = "Which layers need the long window",
      .about = fmt::format("One layer after the other sees its last {} tokens only, the others "
                           "{}; last, all see {}.",
                           short_window, window, short_window),
      .first_column = "short window"};
  ablation.rows.push_back({"no layer", all_long, {}});
  const std::vector<int> layers = layers_with_windows(model);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    StreamOptions options = all_long;
    options.layer_windows.assign(layers.size(), window);
    options.layer_windows[i] = short_window;
    if (layers.size() == 1) options.window = short_window;
    ablation.rows.push_back({fmt::format("layer {}", layers[i]), options, {}});
  }
  StreamOptions all_short = all_long;
  all_short.window = short_window;
  ablation.rows.push_back({"all layers", all_short, {}});
  return ablation;
}

std::int64_t largest_cache(const Model& model, const Ablation& ablation) {
  std::int64_t largest = 0;
  for (const AblationRow& row : ablation.rows) {
    const StreamOptions options = model.resolve(row.options);
    largest = std::max(largest, options.sinks + options.window.value_or(0));
  }
  return largest;
}

// The values of the tokens at positions from `first` on; fewer when told to stop.
std::vector<float> score_row(const Model& model, const AblationRow& row,
                             std::span<const Token> tokens, std::size_t first,
                             const Progress& progress, std::size_t& cache_bytes) {
  Stream stream = model.open(row.options);
  std::vector<Token> own(tokens.begin(), tokens.end());
  std::copy_n(row.first_tokens.begin(), std::min(row.first_tokens.size(), own.size()), own.begin());
  std::vector<float> nll;
  nll.reserve(own.size());
  for (std::size_t at = 0; at < own.size(); at += kTokensAtOnce) {
    const double share = static_cast<double>(at) / static_cast<double>(own.size());
    if (!goes_on(progress, share)) return {};
    const std::size_t n = std::min(kTokensAtOnce, own.size() - at);
    const std::vector<float> values = stream.score(std::span<const Token>(own).subspan(at, n));
    nll.insert(nll.end(), values.begin(), values.end());
  }
  cache_bytes = stream.bytes();
  nll.erase(nll.begin(), nll.begin() + static_cast<std::ptrdiff_t>(first) - 1);
  return nll;
}

Estimate paired_difference(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    differences[i] = static_cast<double>(a[i]) - static_cast<double>(b[i]);
  return block_estimate(differences);
}

}  // namespace

const std::vector<std::string>& ablation_kinds() {
  static const std::vector<std::string> kinds = {"sinks",   "window",  "linebreak",
                                                 "softmax", "kv-type", "layers"};
  return kinds;
}

Ablation make_ablation(const Model& model, const std::string& kind, const StreamOptions& base,
                       std::int64_t cache, std::int64_t short_window) {
  if (cache == 0) {
    StreamOptions options = base;
    options.policy = Policy::kSink;
    options = model.resolve(options);
    cache = options.sinks + *options.window;
  }
  if (cache < 16)
    throw Error(fmt::format("ablation: want a cache of 16 tokens or more, found {}", cache));
  if (kind == "sinks") return sinks_ablation(base, cache);
  if (kind == "window") return window_ablation(base, cache);
  if (kind == "linebreak") return linebreak_ablation(model, base, cache);
  if (kind == "softmax") return softmax_ablation(base, cache);
  if (kind == "kv-type") return kv_type_ablation(base, cache);
  if (kind == "layers") return layers_ablation(model, base, cache, short_window);
  throw Error(
      fmt::format("ablation: want one of {}, found {}", fmt::join(ablation_kinds(), ", "), kind));
}

std::vector<AblationResult> run_ablation(const Model& model, const Ablation& ablation,
                                         std::span<const Token> tokens, const Progress& progress) {
  const auto first = static_cast<std::size_t>(largest_cache(model, ablation)) + 1;
  if (tokens.size() < first + 64) {
    throw Error(
        fmt::format("ablation {}: want at least {} tokens (the largest cache and 64 to "
                    "measure), found {}",
                    ablation.name, first + 64, tokens.size()));
  }
  std::vector<AblationResult> results;
  std::vector<float> reference;
  const double width = 1.0 / static_cast<double>(ablation.rows.size());
  for (const AblationRow& row : ablation.rows) {
    const auto start = std::chrono::steady_clock::now();
    AblationResult result = {.row = row};
    result.row.options = model.resolve(row.options);
    const std::vector<float> nll = score_row(
        model, row, tokens, first,
        part_of(progress, width * static_cast<double>(results.size()), width), result.cache_bytes);
    if (nll.empty()) break;
    if (reference.empty()) reference = nll;
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result.nll = block_estimate(nll);
    result.difference = paired_difference(nll, reference);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace runnel::eval
