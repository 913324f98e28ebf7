// Finds the tokens that are written out in text and stand before all merging: user-defined ones in
// any text, control tokens only where the caller allows them. The longest at a place wins.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runnel/options.h"

namespace runnel {

class AddedTokens {
 public:
  struct Match {
    Token token;
    std::size_t length;  // bytes
    bool is_control;
  };

  AddedTokens() : nodes_(1) {}
  // Empty text is not added; the first token with a text stays.
  void add(std::string_view text, Token token, bool is_control);
  // The longest token that text begins with; control tokens only with at most `control_bytes`
  // bytes.
  std::optional<Match> match(std::string_view text, std::size_t control_bytes) const;
  // Whether a token begins with this byte: most places in a text are passed over by this alone.
  bool may_begin(char byte) const { return begins_[static_cast<unsigned char>(byte)]; }

 private:
  struct Node {
    Token token = -1;
    bool is_control = false;
  };
  static std::uint64_t edge(std::uint32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }

  std::vector<Node> nodes_;  // a trie; node 0 is the root
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;
  std::array<bool, 256> begins_{};
};

}  // namespace runnel
