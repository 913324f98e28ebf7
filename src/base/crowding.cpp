#include "base/crowding.h"

#include <algorithm>

namespace runnel {

void Crowding::waited(Time begin, Time end) {
  if (begin - watched_from_ > kWatched) {
    watched_from_ = begin;
    waited_ = {};
  }
  waited_ += end - begin;
  // One of n threads does 1/n of the work, and a little more that it leaves to the others' caches.
  if (n_active_ == 1 || waited_ * n_active_ * 5 < kWatched * 4) return;
  const bool was_in_vain = end - retry_ < 4 * kWatched;  // to try one more
  rest_ = was_in_vain ? std::min(2 * rest_, kLongRest) : kShortRest;
  --n_active_;
  waited_ = {};
  retry_ = end + rest_;
}

void Crowding::look_again(Time now) {
  if (now < retry_) return;
  ++n_active_;
  waited_ = {};
  retry_ = now + (is_crowded() ? rest_ : std::chrono::milliseconds(0));
}

}  // namespace runnel
