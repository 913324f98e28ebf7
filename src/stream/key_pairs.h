// Which dimensions of a key rotate together.
#pragma once

#include <cstddef>

#include "stream/key_centre.h"

namespace runnel {

// Calls f(i, x, y) for pair i = (x, y).
template <typename F>
void for_each_pair(const KeyRotation& rotation, F f) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(rotation.n_pairs); ++i) {
    const std::size_t x = rotation.is_interleaved ? 2 * i : i;
    f(i, x, rotation.is_interleaved ? x + 1 : x + static_cast<std::size_t>(rotation.n_pairs));
  }
}

}  // namespace runnel
