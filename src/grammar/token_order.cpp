#include "grammar/token_order.h"

#include <algorithm>
#include <limits>

namespace runnel {
namespace {

constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();

}  // namespace

TokenOrder::TokenOrder(const std::vector<std::string>& texts, std::vector<Token> ends)
    : n_tokens_(texts.size()), places_(texts.size(), kNowhere), ends_(std::move(ends)) {
  std::vector<Token> order;
  for (std::size_t t = 0; t < texts.size(); ++t) {
    if (!texts[t].empty()) order.push_back(static_cast<Token>(t));
  }
  const auto text_of = [&](Token token) -> const std::string& {
    return texts[static_cast<std::size_t>(token)];
  };
  std::sort(order.begin(), order.end(), [&](Token a, Token b) { return text_of(a) < text_of(b); });
  entries_.reserve(order.size());
  std::string_view before;
  for (const Token token : order) {
    const std::string& text = text_of(token);
    const auto n = static_cast<std::ptrdiff_t>(std::min(text.size(), before.size()));
    const auto shared = std::mismatch(text.begin(), text.begin() + n, before.begin()).first;
    places_[static_cast<std::size_t>(token)] = static_cast<std::uint32_t>(entries_.size());
    entries_.push_back({token, static_cast<std::uint32_t>(bytes_.size()),
                        static_cast<std::uint32_t>(text.size()),
                        static_cast<std::uint32_t>(shared - text.begin())});
    bytes_ += text;
    before = text;
  }
}

bool TokenOrder::is_end(Token token) const {
  return std::find(ends_.begin(), ends_.end(), token) != ends_.end();
}

std::string_view TokenOrder::text(Token token) const {
  if (token < 0 || static_cast<std::size_t>(token) >= n_tokens_) return {};
  const std::uint32_t place = places_[static_cast<std::size_t>(token)];
  if (place == kNowhere) return {};
  return std::string_view(bytes_).substr(entries_[place].begin, entries_[place].length);
}

void TokenOrder::allowed(Matcher& matcher, int state, std::vector<std::uint64_t>& mask) const {
  mask.assign((n_tokens_ + 63) / 64, 0);
  const auto set = [&mask](Token token) {
    mask[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token % 64);
  };
  std::vector<int> path = {state};  // states behind the bytes of the entry before
  std::uint32_t alive = 0;          // of them, those before the first dead one
  for (const Entry& entry : entries_) {
    if (entry.shared > alive) continue;  // begins with what led nowhere
    alive = entry.shared;
    path.resize(alive + 1);
    while (alive < entry.length) {
      const int next =
          matcher.step(path.back(), static_cast<unsigned char>(bytes_[entry.begin + alive]));
      if (next == Matcher::kDead) break;
      path.push_back(next);
      ++alive;
    }
    if (alive == entry.length) set(entry.token);
  }
  if (matcher.is_complete(state)) {
    for (const Token end : ends_) set(end);
  }
}

}  // namespace runnel
