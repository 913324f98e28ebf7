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

void write(std::string_view level, std::string_view text) {
  const std::string time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  std::string line;
  if (log_format == LogFormat::kJson) {
    const nlohmann::json object = {{"time", time}, {"level", level}, {"message", text}};
    line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  } else {
    line = fmt::format("{} {:<7} {}\n", time, level, text);
  }
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call: lines do not mix
}

}  // namespace

void set_log_format(LogFormat format) { log_format = format; }
void log_info(std::string_view text) { write("info", text); }
void log_warning(std::string_view text) { write("warning", text); }

}  // namespace runnel::serve
