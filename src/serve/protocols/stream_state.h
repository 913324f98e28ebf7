// How a stream is doing, as JSON: the field "runnel" of whatever stands for it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

// On the scheduler's thread. Place, state, bytes, speed, the guard's measures, and the response
// that is being written.
Json stream_state(const Services& services, const Channel& channel);

}  // namespace runnel::serve
