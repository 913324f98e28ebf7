// How a long experiment tells where it is, and is told to stop.
#pragma once

#include <functional>

namespace runnel::eval {

// Called often with the share that is done, 0 to 1; returning false stops the experiment, which
// keeps what it has measured.
using Progress = std::function<bool(double share)>;

// Whether to go on; an empty Progress never stops.
inline bool goes_on(const Progress& progress, double share) { return !progress || progress(share); }

// The part [first, first + width] of a larger experiment's progress.
inline Progress part_of(const Progress& whole, double first, double width) {
  if (!whole) return {};
  return [whole, first, width](double share) { return whole(first + share * width); };
}

}  // namespace runnel::eval
