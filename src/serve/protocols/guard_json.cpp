#include "serve/protocols/guard_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "serve/protocols/errors.h"

namespace runnel::serve {

Json guard_json(const Guard::Measures& measures) {
  return {{"log_probability", measures.written_log_probability},
          {"read_log_probability", measures.read_log_probability},
          {"entropy", measures.entropy},
          {"sink_share", measures.sink_share},
          {"loop", measures.loop},
          {"loops", measures.loops},
          {"drifts", measures.drifts}};
}

Json notice_json(const Notice& notice) {
  return {{"kind", name_of(notice.trouble)},
          {"action", name_of(notice.action)},
          {"message", notice.text}};
}

std::optional<GuardOptions> read_guard(const Json& body, const GuardOptions& base) {
  const auto at = body.find("guard");
  if (at == body.end() || at->is_null()) return std::nullopt;
  if (!at->is_object()) refuse("guard", "guard: want an object");
  GuardOptions options = base;
  const auto action = [&](const char* name, GuardAction& value) {
    const auto given = text_field(*at, name);
    if (!given) return;
    const auto known = action_named(*given);
    if (!known)
      refuse(std::string("guard.") + name, std::string("guard.") + name +
                                               ": want tell, stop, heat or rebuild, found \"" +
                                               *given + "\"");
    value = *known;
  };
  action("on_loop", options.on_loop);
  action("on_drift", options.on_drift);
  const auto bound = [&](const char* name, double low, double high, std::optional<double>& value) {
    if (const auto given = number_field(*at, name, low, high)) value = given;
  };
  bound("least_log_probability", -1000, 0, options.least_log_probability);
  bound("least_entropy", 0, 1000, options.least_entropy);
  bound("most_entropy", 0, 1000, options.most_entropy);
  bound("least_sink_share", 0, 1, options.least_sink_share);
  constexpr std::array kFields = {"on_loop",       "on_drift",     "least_log_probability",
                                  "least_entropy", "most_entropy", "least_sink_share"};
  for (const auto& [name, value] : at->items()) {
    if (std::find(kFields.begin(), kFields.end(), name) == kFields.end())
      refuse("guard." + name, "guard." + name + ": there is no such field");
  }
  return options;
}

}  // namespace runnel::serve
