// Where a stream stands: what every answer says about what was forgotten.
#pragma once

#include <cstdint>

#include "runnel/runnel.h"

namespace runnel::serve {

struct Place {
  std::int64_t position = 0;  // tokens seen
  std::int64_t evicted = 0;   // of them, no longer visible
  std::int64_t horizon = 0;   // the oldest position, sinks aside, that is still visible
  std::int64_t pinned = 0;    // first tokens that are never forgotten
  std::int64_t window = 0;    // most recent tokens that are visible

  // A cache that was made anew begins where what it holds begins: what was before is forgotten.
  static Place of(const Stream& stream) {
    return {.position = stream.position(),
            .evicted = stream.options().start_position + stream.evicted(),
            .horizon = stream.horizon(),
            .pinned = stream.options().sinks,
            .window = stream.options().window.value_or(0)};
  }
};

}  // namespace runnel::serve
