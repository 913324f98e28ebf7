#include "cli/stream_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/common_options.h"
#include "cli/numbers.h"

namespace runnel::cli {

std::string stream_report(const Stream& stream, std::int64_t position) {
  const std::string guesses =
      stream.options().draft == 0
          ? ""
          : fmt::format("{} of {} guesses right · ", grouped(stream.guessed_right()),
                        grouped(stream.guessed()));
  return fmt::format("{}position {} · evicted {} · cache {} · memory {}", guesses,
                     grouped(position), grouped(stream.evicted()), bytes_text(stream.bytes()),
                     bytes_text(resident_bytes()));
}

nlohmann::ordered_json stream_json(const Stream& stream) {
  const StreamOptions& options = stream.options();
  nlohmann::ordered_json json = {{"position", stream.position()},
                                 {"evicted", stream.evicted()},
                                 {"horizon", stream.horizon()},
                                 {"policy", policy_text(options.policy)},
                                 {"sinks", options.sinks},
                                 {"window", nullptr},
                                 {"kv_type", kv_type_text(options.kv_type)},
                                 {"softmax", softmax_text(*options.softmax)},
                                 {"cache_bytes", stream.bytes()}};
  if (options.draft > 0) {
    json["guessed"] = stream.guessed();
    json["guessed_right"] = stream.guessed_right();
  }
  if (options.window && options.policy != Policy::kDense) json["window"] = *options.window;
  return json;
}

}  // namespace runnel::cli
