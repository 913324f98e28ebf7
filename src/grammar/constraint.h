// A constraint on tokens that follows a grammar over bytes.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/token_order.h"
#include "runnel/constraint.h"

namespace runnel {

class GrammarConstraint final : public TokenConstraint {
 public:
  // The tokens are borrowed; the grammar is shared by clones.
  GrammarConstraint(std::shared_ptr<const Grammar> grammar, const TokenOrder& tokens);

  std::span<const std::uint64_t> allowed() override;
  void accept(Token token) override;
  bool is_complete() const override { return matcher_.is_complete(state_); }
  std::unique_ptr<TokenConstraint> clone() const override;

 private:
  struct Mask {
    int state;
    std::vector<std::uint64_t> bits;
  };
  std::shared_ptr<const Grammar> grammar_;
  const TokenOrder* tokens_;
  Matcher matcher_;
  int state_;
  bool is_over_ = false;   // a token that ends a generation came
  std::list<Mask> masks_;  // of the states met last, the latest first
};

}  // namespace runnel
