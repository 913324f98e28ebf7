// Items that a conversation reads without an answer: once, however often a client that heard
// nothing asks again, and whole, or taken back where the server was stopped before.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

struct FeedRequest {
  std::string digest;
  bool is_retry = false;
  bool is_scored = false;
};

// On the scheduler's thread. The reply comes when all items, each with an id, are read. Busy.
void feed(const Services& services, const ReplyPtr& reply, Channel& channel, const Json& items,
          const FeedRequest& request);

// The same to a new conversation, whose items are in the store; `body` is the reply, but for what
// is known when all is read.
void feed_first(const Services& services, const ReplyPtr& reply, Channel& channel,
                const Json& items, const Json& body);

// What the store keeps of a request to feed, so that it can be answered again, stands among the
// responses.
constexpr const char* kFeedPrefix = "feed_";
bool is_feed(const std::string& response);
// On the scheduler's thread: of the process before, which did not come to its end.
void settle_feed(const Services& services, StoredResponse row);

}  // namespace runnel::serve
