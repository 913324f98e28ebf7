// What the parts of a step took, beside what they read and multiply.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runnel/runnel.h"

namespace runnel {

struct PartProfile {
  std::string part;     // "q, k, v"
  std::string kernels;  // what computes it: "Q4_1 with int8", "f16 cache"; empty: nothing worth it
  double seconds = 0;   // of a token
  // Of a token's products, where the part is products: else 0.
  double weight_bytes = 0;
  double multiply_adds = 0;
};

// Takes the time of whatever steps the model computes in its lifetime; one at a time, and none
// while it is made or ends.
class StepProfile {
 public:
  StepProfile(const Model& model, const StreamOptions& resolved);
  ~StepProfile();
  StepProfile(const StepProfile&) = delete;
  StepProfile& operator=(const StepProfile&) = delete;

  // By parts, in the order of a layer; what took nothing is left out. Of `n_tokens` in all.
  std::vector<PartProfile> parts(double n_tokens) const;
  // Tokens for which logits were computed.
  std::size_t n_logits() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel
