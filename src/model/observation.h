// Watching what a decoder looks at.
#pragma once

#include <utility>

#include "model/decoder.h"

namespace runnel {

// Observes a decoder's attention for its lifetime.
class Observation {
 public:
  Observation(Decoder& decoder, AttentionVisitor visitor) : decoder_(decoder) {
    decoder_.observe_attention(std::move(visitor));
  }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;
  ~Observation() { decoder_.observe_attention({}); }

 private:
  Decoder& decoder_;
};

}  // namespace runnel
