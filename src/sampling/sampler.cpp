#include "sampling/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "runnel/error.h"

namespace runnel {
namespace {

void check(bool is_good, const char* name, const char* wanted, double found) {
  if (!is_good)
    throw Error(fmt::format("sampling option {}: want {}, found {}", name, wanted, found));
}

double two_to(int n) { return std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52); }

#include "sampling/exact_exp.inl"

double weight_of(float logit, float largest) {
  return exact_exp(static_cast<double>(logit) - static_cast<double>(largest));
}

}  // namespace

void check_sampling(const SamplingOptions& o) {
  check(o.temperature >= 0 && o.temperature <= 100, "temperature", "0 to 100",
        static_cast<double>(o.temperature));
  check(o.top_k >= 0, "top-k", "0 or more", o.top_k);
  check(o.top_p > 0 && o.top_p <= 1, "top-p", "above 0, at most 1", static_cast<double>(o.top_p));
  check(o.min_p >= 0 && o.min_p <= 1, "min-p", "0 to 1", static_cast<double>(o.min_p));
  check(o.repetition_penalty > 0 && o.repetition_penalty <= 100, "repetition-penalty",
        "above 0, at most 100", static_cast<double>(o.repetition_penalty));
  check(std::fabs(o.frequency_penalty) <= 100, "frequency-penalty", "-100 to 100",
        static_cast<double>(o.frequency_penalty));
  check(std::fabs(o.presence_penalty) <= 100, "presence-penalty", "-100 to 100",
        static_cast<double>(o.presence_penalty));
}

Sampler::Sampler(const SamplingOptions& options, int vocabulary_size)
    : options_(options),
      random_state_(options.seed),
      counts_(static_cast<std::size_t>(vocabulary_size)) {
  check_sampling(options);
  candidates_.reserve(counts_.size());
}

void Sampler::set_options(const SamplingOptions& options) {
  check_sampling(options);
  if (options.seed != options_.seed) random_state_ = options.seed;
  options_ = options;
}

bool Sampler::needs_visible_tokens() const {
  return options_.repetition_penalty != 1 || options_.frequency_penalty != 0 ||
         options_.presence_penalty != 0;
}

Token Sampler::pick(std::span<const float> logits, std::span<const Token> visible,
                    std::span<const std::uint64_t> allowed) {
  const bool is_greedy = options_.temperature <= 0;
  const auto n_likeliest = static_cast<std::size_t>(is_greedy ? 1 : options_.top_k);  // 0: all
  collect(logits, visible, allowed, n_likeliest > 0 ? n_likeliest : logits.size());
  if (candidates_.empty()) throw Error("logits: want numbers, found none to choose a token by");
  if (n_likeliest > 0) {
    sort_first(n_likeliest);
    candidates_.resize(n_sorted_);
  }
  if (is_greedy) return candidates_.front().token;
  const float largest =
      std::min_element(candidates_.begin(), candidates_.end(), is_likelier)->logit;
  keep_top_p(largest);
  keep_min_p(largest);
  return draw(largest);
}

// The tokens that may be among the n likeliest, in no order: one that n before it beat is left out.
void Sampler::collect(std::span<const float> logits, std::span<const Token> visible,
                      std::span<const std::uint64_t> allowed, std::size_t n) {
  const bool is_penalized = needs_visible_tokens();
  if (is_penalized) {
    for (const Token token : visible) ++counts_[static_cast<std::size_t>(token)];
  }
  candidates_.clear();
  n_sorted_ = 0;
  const std::size_t room = std::max<std::size_t>(2 * std::min(n, logits.size()), 64);
  float bar = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const int count = is_penalized ? counts_[i] : 0;
    const float logit = count > 0 ? penalized(logits[i], count) : logits[i];
    if (!(logit > bar)) [[likely]]
      continue;  // nor NaN
    if (!allowed.empty() && (allowed[i / 64] >> (i % 64) & 1) == 0) continue;
    candidates_.push_back({logit, static_cast<Token>(i)});
    if (candidates_.size() < room) continue;
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(n) - 1,
                     candidates_.end(), is_likelier);
    candidates_.resize(n);
    bar = candidates_.back().logit;
  }
  if (is_penalized) {
    for (const Token token : visible) counts_[static_cast<std::size_t>(token)] = 0;
  }
}

float Sampler::penalized(float logit, int count) const {
  const float repetition = options_.repetition_penalty;
  return (logit > 0 ? logit / repetition : logit * repetition) -
         (options_.frequency_penalty * static_cast<float>(count) + options_.presence_penalty);
}

// Equal ones by token, so that order never depends on the library.
bool Sampler::is_likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// The n likeliest to the front, the likeliest first.
void Sampler::sort_first(std::size_t n) {
  n = std::min(n, candidates_.size());
  const auto begin = candidates_.begin() + static_cast<std::ptrdiff_t>(n_sorted_);
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(n);
  std::partial_sort(begin, end, candidates_.end(), is_likelier);
  n_sorted_ = n;
}

// The smallest set of likeliest tokens that holds top_p of the probability.
void Sampler::keep_top_p(float largest) {
  if (options_.top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : candidates_) total += weight_of(c.logit, largest);
  double kept = 0;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    if (i == n_sorted_) sort_first(8 * std::max<std::size_t>(i, 8));
    kept += weight_of(candidates_[i].logit, largest);
    if (kept >= static_cast<double>(options_.top_p) * total) {
      candidates_.resize(i + 1);
      return;
    }
  }
}

// Tokens at least min_p times as likely as the likeliest.
void Sampler::keep_min_p(float largest) {
  if (options_.min_p <= 0) return;
  const float threshold = largest + std::log(options_.min_p);
  std::erase_if(candidates_, [threshold](const Candidate& c) { return c.logit < threshold; });
}

Token Sampler::draw(float largest) {
  const auto heated_weight = [&](const Candidate& c) {
    return exact_exp((static_cast<double>(c.logit) - static_cast<double>(largest)) /
                     static_cast<double>(options_.temperature));
  };
  double total = 0;
  for (const Candidate& c : candidates_) total += heated_weight(c);
  double left = uniform() * total;
  for (const Candidate& c : candidates_) {
    left -= heated_weight(c);
    if (left < 0) return c.token;
  }
  return candidates_.back().token;
}

double Sampler::uniform() {
  random_state_ += 0x9e3779b97f4a7c15u;
  std::uint64_t z = random_state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

}  // namespace runnel
