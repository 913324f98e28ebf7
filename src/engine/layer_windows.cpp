// Windows that differ from layer to layer.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/internals.h"
#include "runnel/error.h"

namespace runnel {
namespace {

constexpr std::int64_t kLargestWindow = 1 << 24;
constexpr std::int64_t kMostRepeats = 1024;
constexpr std::size_t kMostWindows = 4096;

[[noreturn]] void fail_windows(std::string_view text) {
  throw Error(
      fmt::format("windows: want W or WxN between commas, as 2048,256x5 (W 1 to {}, N 1 to {}, at "
                  "most {} in all), found {}",
                  kLargestWindow, kMostRepeats, kMostWindows, text));
}

// A whole number from 1 to `most` at the start of `text`, which loses it; 0: there is none.
std::int64_t take_number(std::string_view& text, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 1 || value > most) return 0;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

}  // namespace

std::vector<std::int64_t> parse_layer_windows(std::string_view text) {
  std::vector<std::int64_t> windows;
  std::string_view rest = text;
  for (;;) {
    const std::int64_t window = take_number(rest, kLargestWindow);
    std::int64_t n = 1;
    if (rest.starts_with('x')) {
      rest.remove_prefix(1);
      n = take_number(rest, kMostRepeats);
    }
    windows.insert(windows.end(), static_cast<std::size_t>(n), window);
    if (window == 0 || n == 0 || windows.size() > kMostWindows) fail_windows(text);
    if (rest.empty()) return windows;
    if (!rest.starts_with(',')) fail_windows(text);
    rest.remove_prefix(1);
  }
}

// Every layer that keeps keys and values gets its window. One window for all is no list.
void resolve_layer_windows(const Config& config, StreamOptions& o) {
  if (o.layer_windows.empty()) return;
  const auto [least, largest] = std::minmax_element(o.layer_windows.begin(), o.layer_windows.end());
  if (o.policy != Policy::kSink && o.policy != Policy::kWindow)
    throw Error(
        "stream option layer_windows: want policy sink or window, where a layer's window "
        "is its own");
  if (*least < 1 || *largest > kLargestWindow || o.layer_windows.size() > kMostWindows)
    throw Error(
        fmt::format("stream option layer_windows: want at most {} of 1 to {}, found {} of "
                    "{} to {}",
                    kMostWindows, kLargestWindow, o.layer_windows.size(), *least, *largest));
  std::vector<std::int64_t> windows;
  for (int layer = 0; layer < config.n_layers; ++layer) {
    if (!config.has_keys(layer)) continue;
    windows.push_back(o.layer_windows[windows.size() % o.layer_windows.size()]);
  }
  if (windows.empty()) windows.push_back(o.layer_windows.front());
  const auto [first, last] = std::minmax_element(windows.begin(), windows.end());
  const std::int64_t window = *last;
  const std::int64_t given = *largest;
  if (o.window && *o.window != window && *o.window != given)
    throw Error(
        fmt::format("stream options: want window or layer_windows, found window {} and "
                    "layer_windows up to {}",
                    *o.window, given));
  o.window = window;
  o.layer_windows = *first == window ? std::vector<std::int64_t>() : std::move(windows);
}

}  // namespace runnel
