#include "device/opencl/recorded_steps.h"

#include <algorithm>
#include <utility>

namespace runnel::opencl {

namespace {
constexpr std::size_t kMost = 32;  // that are kept
}

bool RecordedSteps::begin(Key key) {
  current_ = nullptr;
  is_recording_ = false;
  context_.drop_recording();  // of a step that failed
  key_ = std::move(key);
  if (key_.empty() || !context_.can_record()) return false;
  const auto found = std::find_if(recorded_.begin(), recorded_.end(),
                                  [&](const Recorded& r) { return r.key == key_; });
  if (found != recorded_.end()) {
    recorded_.splice(recorded_.begin(), recorded_, found);
    current_ = &recorded_.front();
    return true;
  }
  if (const auto seen = std::find(seen_.begin(), seen_.end(), key_); seen != seen_.end()) {
    seen_.erase(seen);
    context_.record();
    is_recording_ = true;
  } else {
    if (seen_.size() == kMost) seen_.pop_back();
    seen_.push_front(key_);
  }
  return false;
}

void RecordedSteps::end(const std::vector<bool>& angles) {
  if (std::exchange(is_recording_, false)) {
    if (recorded_.size() == kMost) recorded_.pop_back();
    recorded_.push_front({key_, context_.take_recording(), angles});
    current_ = &recorded_.front();
  }
  if (current_ != nullptr) context_.run(current_->of.launches);
  current_ = nullptr;
}

void RecordedSteps::forget() {
  current_ = nullptr;
  recorded_.clear();
  seen_.clear();
}

}  // namespace runnel::opencl
