// /v1/responses: OpenAI's Responses. An answer is a run of steps on a stream: a conversation's,
// that of the response before it, or a new one.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "serve/hub/responses.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/feeds.h"
#include "serve/protocols/follower.h"
#include "serve/protocols/items.h"
#include "serve/protocols/response_creation.h"
#include "serve/protocols/routes.h"

namespace runnel::serve {
namespace {

StoredResponse found_response(const Services& services, const std::string& id) {
  const auto row = services.store.response(id);
  if (!row || is_feed(id)) refuse_missing("response", id);
  return *row;
}

// One that may be ended: also one that is not kept, while it is written.
StoredResponse found_at_work(const Services& services, const std::string& id) {
  const std::shared_ptr<LiveResponse> live = services.responses.find(id);
  const auto row = (live ? live->store() : services.store).response(id);
  if (!row || is_feed(id)) refuse_missing("response", id);
  return *row;
}

// To the client what the response's events are, from `first` on, or the object when it is whole.
void attach(const Services& services, const ReplyPtr& reply, Store& store, const std::string& id,
            bool is_streamed, std::int64_t first) {
  const std::shared_ptr<LiveResponse> live = services.responses.find(id);
  if (is_streamed) reply->begin("text/event-stream", ": waiting\n\n");
  const auto end = [&store, reply, id, is_streamed] {
    if (is_streamed) return reply->end();
    const auto row = store.response(id);
    if (!row) return send_error(reply, {.status = 404, .message = "no such response: " + id});
    reply->send(200, "application/json", row->body);
  };
  std::uint64_t listener = 0;
  if (is_streamed) {
    listener = std::make_shared<Follower>(
                   store, reply,
                   Follower::Options{.response = id,
                                     .first = first,
                                     .piece = [](const std::string& event) { return event; },
                                     .end = end})
                   ->begin(live.get());
  } else if (live != nullptr) {
    listener = live->listen({.event = [](std::int64_t, const std::string&) {}, .end = end});
  } else {
    return end();
  }
  if (live != nullptr) reply->on_gone([live, listener] { live->stop_listening(listener); });
}

void create_response(const Services& services, const Request& request, const ReplyPtr& reply) {
  const std::shared_ptr<const Asked> asked = asked_of(services, request);
  on_streams(services, reply, [asked, &services, reply] {
    const std::string id = respond(services, *asked);
    if (!is_background(*asked) || is_streamed(*asked))
      return attach(services, reply, store_of(services, *asked), id, is_streamed(*asked), 0);
    reply->send(200, "application/json", found_response(services, id).body);
  });
}

void get_response(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found_response(services, request.parameter("id"));
  if (request.query_value("stream") != "true")
    return reply->send(200, "application/json", row.body);
  std::int64_t after = -1;
  if (const std::string text = request.query_value("starting_after"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), after);
    if (error != std::errc() || *end != '\0' || after < 0)
      refuse("starting_after", "starting_after: want the number of an event, found " + text);
  }
  // Behind what goes on with responses when the server begins.
  on_streams(services, reply,
             [=, &services] { attach(services, reply, services.store, row.id, true, after + 1); });
}

void cancel(const Services& services, const Request& request, const ReplyPtr& reply) {
  const std::string id = found_at_work(services, request.parameter("id")).id;
  on_streams(services, reply, [=, &services] {
    const auto live = services.responses.find(id);
    if (live) live->answer->cancel();
    attach(services, reply, live ? live->store() : services.store, id, false, 0);
  });
}

// More to read for an answer that is being written: it ends, and another one goes on behind it.
void steer_with(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found_at_work(services, request.parameter("id"));
  const Json body = parse_object(request.body);
  const std::string input = dump(body.value("input", Json()));
  const bool is_streamed = bool_field(body, "stream").value_or(false);
  on_streams(services, reply, [=, &services] {
    const Request first = {.headers = request.headers, .body = row.asked};
    const std::string next = steer(services, row.id, first, input);
    attach(services, reply, services.responses.find(next)->store(), next, is_streamed, 0);
  });
}

void remove_response(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found_response(services, request.parameter("id"));
  on_streams(services, reply, [=, &services] {
    if (const auto live = services.responses.find(row.id)) live->answer->cancel();
    Channel* const channel = services.hub.find(row.channel);
    const bool is_last = channel != nullptr && channel->head == row.id;
    if (is_last && channel->kind == Channel::Kind::kChain) services.hub.drop(*channel);
    services.store.drop_response(row.id);
    send_json(reply, {{"id", row.id}, {"object", "response"}, {"deleted", true}});
  });
}

void list_input(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found_response(services, request.parameter("id"));
  Json items = Json::parse(row.input);
  if (page_of(request).is_descending) std::reverse(items.begin(), items.end());
  const std::vector<StoredItem> list = stored(items);
  send_json(reply, list_of(list, static_cast<int>(list.size())));
}

}  // namespace

std::vector<Route> response_routes(const Services& services) {
  const auto route = [&services](const char* method, const char* path, RouteFunction function) {
    return route_to(services, method, path, function);
  };
  return {route("POST", "/v1/responses", create_response),
          route("GET", "/v1/responses/{id}", get_response),
          route("DELETE", "/v1/responses/{id}", remove_response),
          route("POST", "/v1/responses/{id}/cancel", cancel),
          route("POST", "/v1/responses/{id}/steer", steer_with),
          route("GET", "/v1/responses/{id}/input_items", list_input)};
}

}  // namespace runnel::serve
