#include "serve/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

namespace runnel::serve {
namespace {

LogFormat log_format = LogFormat::kText;

using Json = nlohmann::json;

void write(std::string_view level, std::string_view text, Json more = Json::object()) {
  const std::string time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  std::string line;
  if (log_format == LogFormat::kJson) {
    Json object = {{"time", time}, {"level", level}, {"message", text}};
    object.update(more);
    line = object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  } else {
    line = fmt::format("{} {:<7} {}\n", time, level, text);
  }
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call: lines do not mix
}

}  // namespace

void set_log_format(LogFormat format) { log_format = format; }
void log_info(std::string_view text) { write("info", text); }
void log_warning(std::string_view text) { write("warning", text); }

void log_request(const RequestLine& line) {
  const double milliseconds = std::chrono::duration<double, std::milli>(line.took).count();
  if (log_format == LogFormat::kJson) {
    return write("info", "request",
                 {{"client", line.client},
                  {"method", line.method},
                  {"path", line.path},
                  {"status", line.status},
                  {"bytes", line.n_bytes},
                  {"milliseconds", milliseconds},
                  {"cut", line.is_cut}});
  }
  write("info",
        fmt::format("{} {} {} {} {} bytes {:.1f} ms{}", line.client, line.method, line.path,
                    line.status, line.n_bytes, milliseconds, line.is_cut ? ", cut off" : ""));
}

}  // namespace runnel::serve
