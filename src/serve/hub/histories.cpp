// Which stream holds a history that a request brings.
#include <fmt/format.h>

#include <algorithm>

#include "serve/hub/hub.h"

namespace runnel::serve {
namespace {

// More is not copied: it would keep the streams that write waiting.
constexpr std::size_t kMostCopiedBytes = std::size_t{128} << 20;

}  // namespace

Channel* Hub::holding(const std::string& text, std::span<const Token> tokens) {
  Channel* best = nullptr;
  std::size_t longest = 0;
  for (const auto& [id, channel] : channels_) {
    if (channel->kind != Channel::Kind::kCompletion || !channel->queue.empty()) continue;
    if (channel->state != Channel::State::kAwake && channel->state != Channel::State::kParked)
      continue;
    const bool is_chat = channel->is_chat;
    if (is_chat != !text.empty() || channel->is_dropped) continue;
    const std::size_t length = is_chat ? channel->text.size() : channel->tokens.size();
    if (length <= longest) continue;
    const bool holds =
        is_chat ? text.size() > length && text.starts_with(channel->text)
                : tokens.size() > length &&
                      std::equal(channel->tokens.begin(), channel->tokens.end(), tokens.begin());
    if (!holds) continue;
    best = channel.get();
    longest = length;
  }
  return best;
}

void Hub::leave_copy(Channel& channel) {
  channel.is_copy = false;
  if (!channel.is_idle() || channel.bytes > kMostCopiedBytes) return;
  std::vector<std::string> former;  // erasing one may erase others
  for (const auto& [id, other] : channels_) {
    const bool is_former =
        other->is_copy && other->is_chat == channel.is_chat && other->is_idle() &&
        (channel.is_chat
             ? channel.text.starts_with(other->text)
             : other->tokens.size() <= channel.tokens.size() &&
                   std::equal(other->tokens.begin(), other->tokens.end(), channel.tokens.begin()));
    if (is_former) former.push_back(id);
  }
  for (const std::string& id : former) {
    if (Channel* const other = find(id)) erase(*other);
  }
  if (!channel.is_idle()) return;
  if (bytes_used_ - bytes_leaving_ + bytes_wanted_ + channel.bytes > options_.memory_bytes) return;
  fork(channel, Channel::Kind::kCompletion,
       fmt::format("stream_{:016x}{:016x}", random_(), random_()), [] {})
      .is_copy = true;
}

}  // namespace runnel::serve
