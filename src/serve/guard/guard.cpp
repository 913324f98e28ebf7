#include "serve/guard/guard.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

namespace runnel::serve {
namespace {

constexpr std::array<const char*, 4> kTroubles = {"loop", "likelihood", "entropy", "sinks"};
constexpr std::array<const char*, 4> kActions = {"tell", "stop", "heat", "rebuild"};

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

const char* name_of(Trouble trouble) { return kTroubles[static_cast<std::size_t>(trouble)]; }
const char* name_of(GuardAction action) { return kActions[static_cast<std::size_t>(action)]; }

std::optional<GuardAction> action_named(std::string_view name) {
  const auto at = std::find(kActions.begin(), kActions.end(), name);
  if (at == kActions.end()) return std::nullopt;
  return static_cast<GuardAction>(at - kActions.begin());
}

void Guard::mix(double& mean, double value, std::uint64_t& n, std::uint64_t most) {
  n = std::min(n + 1, most);
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

void Guard::wrote(Token token, float log_probability) {
  mix(measures_.written_log_probability, static_cast<double>(log_probability), n_written_, kTokens);
  measures_.loop = loop_.push(token);
}

void Guard::look(std::span<const float> logits) {
  if (logits.empty() || n_looked_++ % kLookEvery != 0) return;
  mix(measures_.entropy, entropy_of(logits), n_entropies_, kTokens / kLookEvery);
}

bool Guard::began(Trouble trouble, bool is_now) {
  const bool was = std::exchange(is_known_[static_cast<std::size_t>(trouble)], is_now);
  return is_now && !was;
}

std::optional<Trouble> Guard::found(const GuardOptions& o) {
  const auto is_below = [](double value, const std::optional<double>& least) {
    return least && value < *least;
  };
  const auto is_above = [](double value, const std::optional<double>& most) {
    return most && value > *most;
  };
  std::optional<Trouble> first;
  const auto look_at = [&](Trouble trouble, bool is_now) {
    if (!began(trouble, is_now)) return;
    if (!first) first = trouble;
    ++(trouble == Trouble::kLoop ? measures_.loops : measures_.drifts);
  };
  const Measures& m = measures_;
  look_at(Trouble::kLoop, m.loop > 0);
  look_at(Trouble::kLikelihood, n_written_ >= kLeastTokens &&
                                    is_below(m.written_log_probability, o.least_log_probability));
  look_at(Trouble::kEntropy,
          n_entropies_ >= kLeastTokens / kLookEvery &&
              (is_below(m.entropy, o.least_entropy) || is_above(m.entropy, o.most_entropy)));
  look_at(Trouble::kSinks, n_shares_ > 0 && is_below(m.sink_share, o.least_sink_share));
  return first;
}

void Guard::begin_anew() {
  loop_.reset();
  measures_ = {.read_log_probability = measures_.read_log_probability,
               .loops = measures_.loops,
               .drifts = measures_.drifts};
  n_written_ = n_looked_ = n_entropies_ = n_shares_ = 0;
  is_known_ = {};
}

}  // namespace runnel::serve
