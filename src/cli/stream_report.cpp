#include "cli/stream_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/resident_memory.h"
#include "cli/common_options.h"
#include "cli/numbers.h"
#include "engine/option_names.h"

namespace runnel::cli {
namespace {

std::int64_t least_window(const StreamOptions& options) {
  return *std::min_element(options.layer_windows.begin(), options.layer_windows.end());
}

std::int64_t evicted_from_shortest(const Stream& stream) {
  const StreamOptions& options = stream.options();
  return std::max<std::int64_t>(
      0, stream.position() - options.start_position - options.sinks - least_window(options));
}

}  // namespace

std::string stream_report(const Stream& stream, std::int64_t position) {
  const std::string guesses =
      stream.options().draft == 0
          ? ""
          : fmt::format("{} of {} guesses right · ", grouped(stream.guessed_right()),
                        grouped(stream.guessed()));
  const StreamOptions& options = stream.options();
  const std::string of_short_layers =
      options.layer_windows.empty()
          ? ""
          : fmt::format(" (from the shortest layers {})", grouped(evicted_from_shortest(stream)));
  return fmt::format("{}position {} · evicted {}{} · cache {} · memory {}", guesses,
                     grouped(position), grouped(stream.evicted()), of_short_layers,
                     bytes_text(stream.bytes()), bytes_text(resident_bytes()));
}

nlohmann::ordered_json stream_json(const Stream& stream) {
  const StreamOptions& options = stream.options();
  nlohmann::ordered_json json = {{"position", stream.position()},
                                 {"evicted", stream.evicted()},
                                 {"horizon", stream.horizon()},
                                 {"policy", policy_name(options.policy)},
                                 {"sinks", options.sinks},
                                 {"window", nullptr},
                                 {"kv_type", kv_type_name(options.kv_type)},
                                 {"softmax", softmax_name(*options.softmax)},
                                 {"cache_bytes", stream.bytes()}};
  if (options.draft > 0) {
    json["guessed"] = stream.guessed();
    json["guessed_right"] = stream.guessed_right();
  }
  if (options.window && options.policy != Policy::kDense) json["window"] = *options.window;
  if (*options.kv_rotate) json["kv_rotate"] = true;
  if (!options.layer_windows.empty()) {
    json["layer_windows"] = options.layer_windows;
    json["evicted_from_shortest"] = evicted_from_shortest(stream);
    json["horizon_of_shortest"] = stream.position() - least_window(options);
  }
  return json;
}

}  // namespace runnel::cli
