// Requests that a client repeats, because it heard nothing: they are answered once.
#pragma once

#include <cstdint>
#include <string>

#include "serve/protocols/exchange.h"
#include "serve/store/store.h"

namespace runnel::serve {

constexpr std::int64_t kRetrySeconds = 600;  // so long afterwards is a retry taken for one

// Whether the client says that it has asked before.
bool is_retry(const Request& request);
// Whether a retry may still come for what was asked then.
bool is_recent(const StoredResponse& row);
// What stands for a request in the store.
std::string digest_of(const std::string& text);

}  // namespace runnel::serve
