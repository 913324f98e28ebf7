#include "cli/common_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "cli/files.h"
#include "cli/model_cache.h"
#include "cli/numbers.h"
#include "cli/terminal.h"
#include "cli/validators.h"
#include "engine/option_names.h"

namespace runnel::cli {
namespace {

// The ranges of Model::resolve(), so that a number outside is wrong usage.
constexpr int kLongestCache = 1 << 24;
constexpr int kLargestChunk = 8192;
constexpr int kAllLayers = 1 << 20;

constexpr Names<bool, 2> kSwitch{{{"on", true}, {"off", false}}};

template <typename T, std::size_t N>
CLI::Option* add_choice(CLI::App& app, const char* flag, std::string& target,
                        const Names<T, N>& names, const std::string& description) {
  std::vector<std::string> allowed;
  for (const auto& [name, value] : names) allowed.emplace_back(name);
  return app.add_option(flag, target, description)
      ->type_name(fmt::format("{}", fmt::join(allowed, "|")))
      ->check(CLI::IsMember(allowed).description(""))
      ->group("Stream");
}

// "all" or "dense,sink" as names.
std::vector<std::string> policy_names(const std::string& list) {
  std::vector<std::string> names;
  if (list == "all") {
    for (const auto& [name, policy] : kPolicies) names.emplace_back(name);
    return names;
  }
  return CLI::detail::split(list, ',');
}

// Empty when the list is good, as CLI11 wants it.
std::string unknown_policy(const std::string& list) {
  for (const std::string& name : policy_names(list)) {
    const bool is_known = std::any_of(kPolicies.begin(), kPolicies.end(),
                                      [&](const auto& policy) { return policy.first == name; });
    if (!is_known) return fmt::format("want dense, window, sink, recompute or all, found {}", name);
  }
  return "";
}

// Empty when the list is good, as CLI11 wants it.
std::string bad_windows(const std::string& list) {
  try {
    parse_layer_windows(list);
    return "";
  } catch (const Error&) {
    return fmt::format("want a number from 1 to {}, or several as 2048,256x5, got {}",
                       kLongestCache, list);
  }
}

}  // namespace

std::string window_text(const StreamOptions& resolved) {
  const std::vector<std::int64_t>& windows = resolved.layer_windows;
  if (windows.empty()) return grouped(resolved.window.value_or(0));
  std::size_t period = 1;
  while (!std::equal(windows.begin() + static_cast<std::ptrdiff_t>(period), windows.end(),
                     windows.begin()))
    ++period;
  std::string text;
  for (std::size_t i = 0, n = 0; i < period; i += n) {
    for (n = 1; i + n < period && windows[i + n] == windows[i];) ++n;
    text += fmt::format("{}{}{}", i > 0 ? "," : "", windows[i], n > 1 ? fmt::format("x{}", n) : "");
  }
  return text;
}

void ModelArguments::add_to(CLI::App& app) {
  add_file_to(app);
  app.add_option("-t,--threads", threads_, "Worker threads; 0: one for each core")
      ->type_name("N")
      ->check(whole_within(0, 1024));
  app.add_option("--device", device_,
                 "Who runs the layers: cpu, gpu (the first one that OpenCL has), or a device of "
                 "'runnel info --devices'")
      ->type_name("cpu|gpu|opencl:N");
  app.add_option(
         "--gpu-layers,--n-gpu-layers", gpu_layers_,
         "Only the first N layers run on --device, the others on the processor (also -ngl N); auto "
         "(default): as many as its memory holds")
      ->type_name("N|auto|all")
      ->check([](const std::string& text) {
        return text == "auto" || text == "all" ? std::string() : whole_within(0, 1 << 20)(text);
      });
  app.add_option("--gpu-memory", gpu_memory_,
                 "Memory of --device to take at most, as 8G or 500M (default: what it has)")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->default_str("");
  app.add_flag("--exact", is_exact_,
               "Multiply with floats, not with inputs rounded to int8: slow, and close to exact "
               "arithmetic; with --kv-type f32 attention too");
  app.add_option("--packed-cache", packed_cache_,
                 "Keep weights here as they were packed: the next start maps them, and processes "
                 "share them")
      ->type_name("FOLDER");
}

void ModelArguments::add_file_to(CLI::App& app) {
  app.add_option("-m,--model,MODEL", given_,
                 "The model: a GGUF file, or a name of 'runnel pull' (default: RUNNEL_MODEL, or "
                 "smollm2 when it was pulled)")
      ->type_name("FILE");
}

std::string ModelArguments::path() const {
  if (is_given()) return model_file(given_);
  if (const std::optional<std::string> path = default_model_file()) return *path;
  throw CLI::RequiredError(
      "MODEL (a GGUF file; or 'runnel pull smollm2' first, and no model need be named)");
}

ModelOptions ModelArguments::options() const {
  const bool is_for_device = gpu_layers_ != "auto" && gpu_layers_ != "0";
  if (device_ == "cpu" && is_for_device) {
    throw CLI::ValidationError(
        "--gpu-layers",
        "want a device for them: did you mean --device gpu beside it? (Without "
        "either the processor runs all layers.)");
  }
  ModelOptions options = {.threads = threads_, .device = device_, .device_memory = gpu_memory_};
  if (gpu_layers_ == "all") options.device_layers = kAllLayers;
  if (gpu_layers_ != "all" && gpu_layers_ != "auto") options.device_layers = std::stoi(gpu_layers_);
  options.exact = is_exact_;
  options.packed_cache = packed_cache_;
  return options;
}

// Says who runs the layers, where that is not the processor alone.
Model ModelArguments::load() const {
  Model model = Model::load(path(), options());
  const Model::DeviceUse device = model.device();
  if (!device.is_cpu) {
    const bool is_split = gpu_layers_ == "auto" && device.layers < model.layers();
    tell(fmt::format("{} of {} layers on {}{}, {} of its memory taken{}", device.layers,
                     model.layers(), device.name, is_split ? " (as many as fit)" : "",
                     bytes_text(device.memory_bytes),
                     device.layers < model.layers() ? "; the others on the processor" : ""));
  }
  return model;
}

void StreamArguments::add_to(CLI::App& app, const char* default_policy) {
  policy_ = default_policy;
  all_.push_back(add_choice(app, "--policy", policy_, kPolicies,
                            "What a token sees: everything (dense, memory grows), the last tokens "
                            "(window), the first and the last (sink), or the same computed afresh "
                            "for every token (recompute, slow)"));
  add_cache_to(app);
  CLI::Option* window = app.get_option("--window");
  all_.push_back(
      app.add_option("-c,--ctx-size", cache_,
                     "Tokens kept in all, sinks and window: another way to give the window")
          ->type_name("TOKENS")
          ->check(whole_within(1, kLongestCache))
          ->excludes(window)
          ->group("Stream"));
}

void StreamArguments::add_several_to(CLI::App& app) {
  all_.push_back(
      app.add_option("--policy", policy_,
                     "What a token sees: dense, window, sink, recompute; several between "
                     "commas, or all")
          ->type_name("POLICY,...")
          ->check([](const std::string& list) { return unknown_policy(list); })
          ->group("Stream"));
  add_cache_to(app);
}

void StreamArguments::add_cache_to(CLI::App& app) {
  all_.push_back(app.add_option("--sinks", sinks_, "First tokens of the stream, kept for ever")
                     ->type_name("TOKENS")
                     ->check(whole_within(0, kLongestCache))
                     ->group("Stream"));
  all_.push_back(
      app.add_option("--window", window_,
                     "Most recent tokens kept (default: what the model's trained context holds "
                     "beside the sinks, at most 2043); or a list for the layers, repeated over "
                     "them: 2048,256x5 is 2048 in the first, 256 in the next five, and so on")
          ->type_name("TOKENS,...")
          ->check([](const std::string& list) { return bad_windows(list); })
          ->group("Stream"));
  all_.push_back(add_choice(app, "--kv-type", kv_type_, kKvTypes,
                            "Number format of the cached keys and values; q4_0 keeps sinks and "
                            "pins in f16"));
  all_.push_back(add_choice(app, "--kv-rotate", kv_rotate_, kSwitch,
                            "Multiply by a Hadamard matrix and take out the keys' mean before "
                            "quantising, sinks and pins in f16: of q4_0 (default: on) and q8_0 "
                            "(default: off)"));
  all_.push_back(
      app.add_option("--chunk", chunk_, "Tokens that pass the model together while text is read in")
          ->type_name("TOKENS")
          ->check(whole_within(1, kLargestChunk))
          ->group("Stream"));
  all_.push_back(add_choice(app, "--softmax", softmax_, kSoftmaxes,
                            "Off-by-one adds 1 to the denominator of attention (default: what the "
                            "model was trained with)"));
}

void StreamArguments::add_pin_to(CLI::App& app) {
  CLI::Option* pin =
      app.add_option("--pin", pin_, "Text at the start of the stream that is never forgotten")
          ->type_name("TEXT")
          ->group("Stream");
  CLI::Option* pin_file = app.add_option("--pin-file", pin_file_, "The same, from a file")
                              ->type_name("FILE")
                              ->excludes(pin)
                              ->group("Stream");
  all_.push_back(pin);
  all_.push_back(pin_file);
}

void StreamArguments::add_draft_to(CLI::App& app) {
  all_.push_back(
      app.add_option("--draft", draft_,
                     "Tokens guessed ahead from the stream's own text and checked together: "
                     "the same output, sooner where text repeats; 0: off")
          ->type_name("TOKENS")
          ->check(whole_within(0, 64))
          ->group("Stream"));
}

std::vector<Policy> StreamArguments::policies() const {
  std::vector<Policy> policies;
  for (const std::string& name : policy_names(policy_))
    policies.push_back(value_of(kPolicies, name));
  return policies;
}

std::int64_t StreamArguments::window_of_cache(Policy policy) const {
  const int sinks = policy == Policy::kWindow ? 0 : sinks_;
  if (*cache_ > sinks) return *cache_ - sinks;
  throw CLI::ValidationError("--ctx-size",
                             fmt::format("want more than the {} sinks, got {}", sinks, *cache_));
}

StreamOptions StreamArguments::options() const {
  StreamOptions options;
  options.policy = policies().front();
  options.sinks = sinks_;
  if (!window_.empty()) {
    options.layer_windows = parse_layer_windows(window_);
    if (options.layer_windows.size() == 1) {
      options.window = options.layer_windows.front();
      options.layer_windows.clear();
    }
  }
  if (cache_) options.window = window_of_cache(options.policy);
  options.kv_type = value_of(kKvTypes, kv_type_);
  if (!kv_rotate_.empty()) options.kv_rotate = value_of(kSwitch, kv_rotate_);
  options.chunk = chunk_;
  options.draft = draft_;
  if (!softmax_.empty()) options.softmax = value_of(kSoftmaxes, softmax_);
  options.pin = pin_file_.empty() ? pin_ : read_file(pin_file_);
  return options;
}

void SamplingArguments::add_to(CLI::App& app) {
  const SamplingOptions defaults;
  auto add = [&app](const char* flag, auto& target, auto fallback, const char* description) {
    return app.add_option(flag, target, fmt::format("{} (default {})", description, fallback))
        ->type_name("X")
        ->group("Sampling");
  };
  add("--temperature,--temp", temperature_, defaults.temperature, "0: always the likeliest token")
      ->check(within(0, 100));
  add("--top-k", top_k_, defaults.top_k, "Only the K likeliest tokens; 0: all")
      ->type_name("K")
      ->check(whole_within(0, INT32_MAX));
  add("--top-p", top_p_, defaults.top_p,
      "Only the likeliest tokens that make up this share; 1: all")
      ->check(above(0, 1));
  add("--min-p", min_p_, defaults.min_p,
      "Only tokens at least X times as likely as the best; 0: all")
      ->check(within(0, 1));
  add("--repetition-penalty,--repeat-penalty", repetition_penalty_, defaults.repetition_penalty,
      "Divides the score of tokens in view; 1: off")
      ->check(above(0, 100));
  add("--frequency-penalty", frequency_penalty_, defaults.frequency_penalty,
      "Off the score for each time a token is in view; 0: off")
      ->check(within(-100, 100));
  add("--presence-penalty", presence_penalty_, defaults.presence_penalty,
      "Off the score of each token in view; 0: off")
      ->check(within(-100, 100));
  add("--seed", seed_, defaults.seed, "The same seed gives the same text")
      ->type_name("N")
      ->check(any_seed());
}

bool SamplingArguments::any_given() const {
  return temperature_ || top_k_ || top_p_ || min_p_ || repetition_penalty_ || frequency_penalty_ ||
         presence_penalty_ || seed_;
}

SamplingOptions SamplingArguments::over(SamplingOptions base) const {
  base.temperature = temperature_.value_or(base.temperature);
  base.top_k = top_k_.value_or(base.top_k);
  base.top_p = top_p_.value_or(base.top_p);
  base.min_p = min_p_.value_or(base.min_p);
  base.repetition_penalty = repetition_penalty_.value_or(base.repetition_penalty);
  base.frequency_penalty = frequency_penalty_.value_or(base.frequency_penalty);
  base.presence_penalty = presence_penalty_.value_or(base.presence_penalty);
  base.seed = seed_.value_or(base.seed);
  return base;
}

}  // namespace runnel::cli
