// A vocabulary's tokens in the order of their bytes, so that all of them pass through an automaton
// with each common beginning walked once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "runnel/options.h"

namespace runnel {

class TokenOrder {
 public:
  // `texts[t]`: the bytes of token t; empty ones (control tokens) never match. `ends`: tokens that
  // end a generation.
  TokenOrder(const std::vector<std::string>& texts, std::vector<Token> ends);

  std::size_t size() const { return n_tokens_; }
  std::span<const Token> ends() const { return ends_; }
  bool is_end(Token token) const;
  std::string_view text(Token token) const;

  // Sets the bits of the tokens that may follow; [(size() + 63) / 64].
  void allowed(Matcher& matcher, int state, std::vector<std::uint64_t>& mask) const;

 private:
  struct Entry {
    Token token;
    std::uint32_t begin, length;  // in bytes_
    std::uint32_t shared;         // bytes in common with the entry before
  };
  std::size_t n_tokens_;
  std::string bytes_;
  std::vector<Entry> entries_;         // sorted
  std::vector<std::uint32_t> places_;  // of each token among them; or none
  std::vector<Token> ends_;
};

}  // namespace runnel
