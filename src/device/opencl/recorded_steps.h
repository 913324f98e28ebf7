// Steps that were recorded. What differs from one token to the next (tokens, positions, angles)
// lies in buffers, so the launches of a step are those of every other step of the same caches; a
// step is recorded when it comes the second time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "device/opencl/context.h"

namespace runnel::opencl {

class RecordedSteps {
 public:
  using Key = std::vector<std::uint64_t>;  // what a step's launches depend on

  explicit RecordedSteps(Context& context) : context_(context) {}

  // A step begins; of an empty key: one that is not recorded. Whether it is run from a recording:
  // its launches are left out then.
  bool begin(Key key);
  bool is_replayed() const { return current_ != nullptr; }
  // Which tables of angles a recorded step reads.
  std::vector<bool>& angles() { return current_->angles; }
  // What follows is not of the recording; it runs, if it did not yet.
  void end(const std::vector<bool>& angles);
  // Buffers have moved.
  void forget();

 private:
  struct Recorded {
    Key key;
    Context::Recorded of;
    std::vector<bool> angles;
  };

  Context& context_;
  std::list<Recorded> recorded_;  // the latest first
  Recorded* current_ = nullptr;
  bool is_recording_ = false;
  Key key_;              // of the step that runs
  std::list<Key> seen_;  // not recorded yet; the latest first
};

}  // namespace runnel::opencl
