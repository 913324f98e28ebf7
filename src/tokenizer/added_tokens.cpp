#include "tokenizer/added_tokens.h"

namespace runnel {

void AddedTokens::add(std::string_view text, Token token, bool is_control) {
  if (text.empty()) return;
  std::uint32_t node = 0;
  for (const char byte : text) {
    const auto fresh = static_cast<std::uint32_t>(nodes_.size());
    const auto [child, is_new] = edges_.emplace(edge(node, byte), fresh);
    if (is_new) nodes_.emplace_back();
    node = child->second;
  }
  if (nodes_[node].token < 0) nodes_[node] = {token, is_control};
  begins_[static_cast<unsigned char>(text[0])] = true;
}

std::optional<AddedTokens::Match> AddedTokens::match(std::string_view text,
                                                     std::size_t control_bytes) const {
  std::optional<Match> longest;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto child = edges_.find(edge(node, text[i]));
    if (child == edges_.end()) break;
    node = child->second;
    const Node& here = nodes_[node];
    if (here.token < 0 || (here.is_control && i + 1 > control_bytes)) continue;
    longest = Match{here.token, i + 1, here.is_control};
  }
  return longest;
}

}  // namespace runnel
