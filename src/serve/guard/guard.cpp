#include "serve/guard/guard.h"

#include <algorithm>
#include <cmath>

namespace runnel::serve {
namespace {

constexpr std::uint64_t kMemory = 256;    // tokens that a running mean remembers
constexpr std::uint64_t kLookEvery = 16;  // an entropy costs a pass over the vocabulary

double entropy_of(std::span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0, weighted = 0;
  for (const float logit : logits) {
    const double x = static_cast<double>(logit) - static_cast<double>(largest);
    const double weight = std::exp(x);
    sum += weight;
    weighted += weight * x;
  }
  return std::log(sum) - weighted / sum;
}

}  // namespace

void Guard::mix(double& mean, double value, std::uint64_t& n) {
  n = std::min(n + 1, kMemory);
  mean += (value - mean) / static_cast<double>(n);
}

void Guard::will_read(std::span<const float> logits, Token token) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - largest));
  const double value =
      static_cast<double>(logits[static_cast<std::size_t>(token)] - largest) - std::log(sum);
  read(value);
}

bool Guard::wrote(Token token, float log_probability) {
  mix(measures_.written_log_probability, static_cast<double>(log_probability), n_written_);
  const bool was_in_loop = measures_.loop > 0;
  measures_.loop = loop_.push(token);
  if (was_in_loop || measures_.loop == 0) return false;
  ++measures_.loops;
  return true;
}

void Guard::look(std::span<const float> logits) {
  if (logits.empty() || n_looked_++ % kLookEvery != 0) return;
  mix(measures_.entropy, entropy_of(logits), n_entropies_);
}

}  // namespace runnel::serve
