// A stream's state in words and in JSON: position, what it has forgotten, memory.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runnel/runnel.h"

namespace runnel::cli {

// "position 1,746 · evicted 1,495 · cache 2.1 MiB · memory 25.0 MiB", and before it, with drafts,
// "61 of 90 guesses right · ". `position` may be ahead of
// the stream's own while it ingests.
std::string stream_report(const Stream& stream, std::int64_t position);

// position, evicted, horizon, policy, sinks, window, kv_type, softmax, cache_bytes;
// with drafts guessed and guessed_right.
nlohmann::ordered_json stream_json(const Stream& stream);

}  // namespace runnel::cli
