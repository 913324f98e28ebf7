// The guard, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "serve/guard/guard.h"
#include "serve/protocols/json_body.h"

namespace runnel::serve {

Json guard_json(const Guard::Measures& measures);
Json notice_json(const Notice& notice);
// "guard" of a request, over what the server has: "on_loop", "on_drift", and the bounds. None:
// there is no such field. RequestError: what is wrong with it.
std::optional<GuardOptions> read_guard(const Json& body, const GuardOptions& base);

}  // namespace runnel::serve
