// For the differential test: renders a template a line. Each line of standard input is an object
// {"template": ..., "variables": {...}}; the answer is {"text": ...} or {"error": ...}.
#include <iostream>
#include <nlohmann/json.hpp>

#include "jinja/template.h"
#include "runnel/error.h"

namespace {

using Json = nlohmann::ordered_json;

constexpr std::tm kNow = {.tm_sec = 6,
                          .tm_min = 4,
                          .tm_hour = 15,
                          .tm_mday = 2,
                          .tm_mon = 0,
                          .tm_year = 106,
                          .tm_wday = 1,
                          .tm_yday = 1,
                          .tm_isdst = 0,
                          .tm_gmtoff = 0,
                          .tm_zone = nullptr};

Json render(const Json& line) {
  try {
    const auto source = line.at("template").get<std::string>();
    runnel::jinja::Variables variables;
    for (const auto& [name, value] : line.at("variables").items()) {
      const auto origin = runnel::jinja::Origin::kValue;
      variables.emplace_back(name, runnel::jinja::value_from_json(value.dump(), origin));
    }
    const auto text = runnel::jinja::Template::parse(source).render(variables, {}, kNow);
    return {{"text", text.bytes()}};
  } catch (const runnel::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << render(Json::parse(line)).dump(-1, ' ', true, Json::error_handler_t::replace)
              << "\n";
  }
}
