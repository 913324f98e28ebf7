#include "grammar/constraint.h"

#include <fmt/format.h>

#include <algorithm>

#include "runnel/error.h"

namespace runnel {
namespace {

constexpr std::size_t kMostMasks = 64;
constexpr std::size_t kMostStates = 20'000;  // then all but the present one are forgotten

}  // namespace

GrammarConstraint::GrammarConstraint(std::shared_ptr<const Grammar> grammar,
                                     const TokenOrder& tokens)
    : grammar_(std::move(grammar)),
      tokens_(&tokens),
      matcher_(*grammar_),
      state_(matcher_.start()) {}

std::span<const std::uint64_t> GrammarConstraint::allowed() {
  const auto found = std::find_if(masks_.begin(), masks_.end(),
                                  [this](const Mask& mask) { return mask.state == state_; });
  if (found != masks_.end()) {
    masks_.splice(masks_.begin(), masks_, found);
    return masks_.front().bits;
  }
  if (matcher_.size() > kMostStates) {
    state_ = matcher_.forget_others(state_);
    masks_.clear();
  }
  if (masks_.size() >= kMostMasks) masks_.pop_back();
  masks_.push_front({state_, {}});
  tokens_->allowed(matcher_, state_, masks_.front().bits);
  return masks_.front().bits;
}

void GrammarConstraint::accept(Token token) {
  if (is_over_) return;
  if (tokens_->is_end(token) && is_complete()) {
    is_over_ = true;
    return;
  }
  const std::string_view text = tokens_->text(token);
  int next = text.empty() ? Matcher::kDead : state_;
  for (const char byte : text) next = matcher_.step(next, static_cast<unsigned char>(byte));
  if (next == Matcher::kDead) {
    throw Error(fmt::format("constraint: token {} (\"{}\") is not allowed here", token, text));
  }
  state_ = next;
}

std::unique_ptr<TokenConstraint> GrammarConstraint::clone() const {
  return std::make_unique<GrammarConstraint>(*this);
}

}  // namespace runnel
