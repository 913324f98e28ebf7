// Logits in the processor's memory.
#pragma once

#include <vector>

#include "device/logits.h"

namespace runnel::cpu {

class HostLogits final : public LogitsRow {
 public:
  explicit HostLogits(int vocabulary_size) {
    logits_.reserve(static_cast<std::size_t>(vocabulary_size));
  }
  std::span<const float> read() override { return logits_; }
  void write(std::span<const float> logits) override {
    logits_.assign(logits.begin(), logits.end());
  }

 private:
  std::vector<float> logits_;
};

}  // namespace runnel::cpu
