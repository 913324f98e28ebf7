// /v1/conversations: OpenAI's Conversations, each an endless stream. Beyond OpenAI's: list and
// fork.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "serve/protocols/errors.h"
#include "serve/protocols/feeds.h"
#include "serve/protocols/items.h"
#include "serve/protocols/retries.h"
#include "serve/protocols/routes.h"
#include "serve/protocols/services.h"
#include "serve/protocols/stream_state.h"

namespace runnel::serve {
namespace {

Json conversation_json(const Services& services, const StoredConversation& stored,
                       const Channel* channel) {
  Json json = {{"id", stored.id},
               {"object", "conversation"},
               {"created_at", stored.created},
               {"metadata", Json::parse(stored.metadata)}};
  if (channel != nullptr) json["runnel"] = stream_state(services, *channel);
  return json;
}

StoredConversation found_conversation(const Services& services, const std::string& id) {
  const auto stored = services.store.conversation(id);
  if (!stored) refuse_missing("conversation", id);
  return *stored;
}

Channel& channel_of(const Services& services, const std::string& id) {
  Channel* const channel = services.hub.find(id);
  if (channel == nullptr) refuse_missing("conversation", id);
  return *channel;
}

std::string metadata_text(const Json& body) {
  const Json metadata = body.value("metadata", Json::object());
  if (metadata.is_null()) return "{}";
  if (!metadata.is_object()) refuse("metadata", "metadata: want an object of strings");
  return dump(metadata);
}

void create_conversation(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const Json items = items_of(body.value("items", Json()), "items");
  std::vector<Message> messages = messages_of_items(items);
  const std::string system = take_system(messages);
  const std::vector<Token> pinned = services.hub.chat().opening({.system = system});
  const StoredConversation stored_one = {.id = random_id("conv_", key_of(request, "")),
                                         .created = unix_seconds(),
                                         .metadata = metadata_text(body)};
  on_streams(services, reply, [=, &services] {
    Channel& channel = services.hub.open(Channel::Kind::kConversation, stored_one.id, pinned);
    channel.system = system;
    services.store.put(stored_one);
    services.store.add_items(stored_one.id, stored(items));
    feed_first(services, reply, channel, items, conversation_json(services, stored_one, nullptr));
  });
}

void list_conversations(const Services& services, const Request& request, const ReplyPtr& reply) {
  Page page = page_of(request);
  const auto limit = static_cast<std::size_t>(page.limit++);
  const std::vector<StoredConversation> conversations = services.all_conversations
                                                            ? services.all_conversations(page)
                                                            : services.store.conversations(page);
  on_streams(services, reply, [=, &services] {
    const std::size_t n = std::min(conversations.size(), limit);
    Json data = Json::array();
    for (std::size_t i = 0; i < n; ++i)
      data.push_back(
          conversation_json(services, conversations[i], services.hub.find(conversations[i].id)));
    send_json(reply, {{"object", "list"},
                      {"data", data},
                      {"first_id", n > 0 ? Json(conversations[0].id) : Json()},
                      {"last_id", n > 0 ? Json(conversations[n - 1].id) : Json()},
                      {"has_more", conversations.size() > n}});
  });
}

void get_conversation(const Services& services, const Request& request, const ReplyPtr& reply) {
  on_streams(services, reply, [=, &services] {
    const StoredConversation stored_one = found_conversation(services, request.parameter("id"));
    send_json(reply, conversation_json(services, stored_one, services.hub.find(stored_one.id)));
  });
}

void update(const Services& services, const Request& request, const ReplyPtr& reply) {
  const std::string metadata = metadata_text(parse_object(request.body));
  on_streams(services, reply, [=, &services] {
    StoredConversation stored_one = found_conversation(services, request.parameter("id"));
    stored_one.metadata = metadata;
    services.store.put(stored_one);
    send_json(reply, conversation_json(services, stored_one, services.hub.find(stored_one.id)));
  });
}

void remove_conversation(const Services& services, const Request& request, const ReplyPtr& reply) {
  on_streams(services, reply, [=, &services] {
    const std::string id = request.parameter("id");
    found_conversation(services, id);
    if (Channel* const channel = services.hub.find(id)) services.hub.drop(*channel);
    services.store.drop_conversation(id);
    send_json(reply, {{"id", id}, {"object", "conversation.deleted"}, {"deleted", true}});
  });
}

// Makes the copy when the stream has come to the end of what it has to do.
class ForkListener final : public AnswerListener {
 public:
  ForkListener(const Services& services, ReplyPtr reply, std::string from, StoredConversation copy)
      : services_(services),
        reply_(std::move(reply)),
        from_(std::move(from)),
        copy_(std::move(copy)) {}
  void wrote(const Written&, const Place&) override {}
  void ended(const Ending& ending, const Place&) override {
    if (ending.finish == Finish::kFailed)
      return send_error(reply_, {.status = 500, .message = ending.why});
    on_streams(services_, reply_,
               [&services = services_, reply = reply_, from = from_, copy = copy_] {
                 fork_now(services, reply, from, copy);
               });
  }

 private:
  // The reply is sent when the copy is safe, and who has it finds the items.
  static void fork_now(const Services& services, const ReplyPtr& reply, const std::string& from,
                       const StoredConversation& copy) {
    Channel& channel = channel_of(services, from);
    const auto body = std::make_shared<Json>(conversation_json(services, copy, nullptr));
    (*body)["forked_from"] = from;
    (*body)["runnel"] = place_json(channel.place);
    services.store.put(copy);
    services.store.copy_items(from, copy.id);
    try {
      services.hub.fork(channel, Channel::Kind::kConversation, copy.id,
                        [reply, body] { send_json(reply, *body); });
    } catch (const Error&) {
      services.store.drop_conversation(copy.id);
      throw;
    }
  }

  const Services& services_;
  ReplyPtr reply_;
  std::string from_;
  StoredConversation copy_;
};

void fork(const Services& services, const Request& request, const ReplyPtr& reply) {
  const std::string metadata = metadata_text(parse_object(request.body));
  on_streams(services, reply, [=, &services] {
    const std::string id = request.parameter("id");
    found_conversation(services, id);
    const StoredConversation copy = {.id = random_id("conv_", key_of(request, id)),
                                     .created = unix_seconds(),
                                     .metadata = metadata};
    services.hub.answer(channel_of(services, id), {.most_tokens = 0},
                        std::make_shared<ForkListener>(services, reply, id, copy), {});
  });
}

void add_items(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const Json items = items_of(body.value("items", Json()), "items");
  if (items.empty()) refuse("items", "items: want a list with at least one item");
  const FeedRequest wanted = {.digest = digest_of(request.path + dump(body)),
                              .is_retry = is_retry(request),
                              .is_scored = bool_field(body, "score").value_or(false)};
  on_streams(services, reply, [=, &services] {
    const std::string id = request.parameter("id");
    found_conversation(services, id);
    feed(services, reply, channel_of(services, id), items, wanted);
  });
}

void list_items(const Services& services, const Request& request, const ReplyPtr& reply) {
  const std::string id = request.parameter("id");
  found_conversation(services, id);
  Page page = page_of(request);
  const int limit = page.limit++;
  send_json(reply, list_of(services.store.items(id, page), limit));
}

void get_item(const Services& services, const Request& request, const ReplyPtr& reply) {
  const auto item = services.store.item(request.parameter("id"), request.parameter("item"));
  if (!item) refuse_missing("item", request.parameter("item"));
  send_json(reply, Json::parse(item->json));
}

// From the record; the stream has read it, and forgets it as it forgets all.
void remove_item(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredConversation stored_one = found_conversation(services, request.parameter("id"));
  if (!services.store.drop_item(stored_one.id, request.parameter("item")))
    refuse_missing("item", request.parameter("item"));
  send_json(reply, conversation_json(services, stored_one, nullptr));
}

}  // namespace

std::vector<Route> conversation_routes(const Services& services) {
  const auto route = [&services](const char* method, const char* path, RouteFunction function) {
    return route_to(services, method, path, function);
  };
  return {route("POST", "/v1/conversations", create_conversation),
          route("GET", "/v1/conversations", list_conversations),
          route("GET", "/v1/conversations/{id}", get_conversation),
          route("POST", "/v1/conversations/{id}", update),
          route("DELETE", "/v1/conversations/{id}", remove_conversation),
          route("POST", "/v1/conversations/{id}/fork", fork),
          route("POST", "/v1/conversations/{id}/items", add_items),
          route("GET", "/v1/conversations/{id}/items", list_items),
          route("GET", "/v1/conversations/{id}/items/{item}", get_item),
          route("DELETE", "/v1/conversations/{id}/items/{item}", remove_item)};
}

}  // namespace runnel::serve
