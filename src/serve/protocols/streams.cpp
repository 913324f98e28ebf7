// /v1/streams: what streams there are, how they are doing, and what each one still sees.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/resident_memory.h"
#include "serve/hub/responses.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/guard_json.h"
#include "serve/protocols/items.h"
#include "serve/protocols/stream_state.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kShownTokens = 64;    // of each end of the window
constexpr std::int64_t kShownPinned = 1024;  // a system prompt, whole as a rule

const char* state_text(const Channel& channel) {
  switch (channel.state) {
    case Channel::State::kWaking:
      return "waking";
    case Channel::State::kParking:
    case Channel::State::kParked:
      return "parked";
    case Channel::State::kAwake:
      break;
  }
  return channel.queue.empty() ? "idle" : "working";
}

const char* kind_text(const Channel& channel) {
  switch (channel.kind) {
    case Channel::Kind::kConversation:
      return "conversation";
    case Channel::Kind::kChain:
      return "chain";
    case Channel::Kind::kPassing:
      return "passing";
    case Channel::Kind::kCompletion:
      break;
  }
  return "completion";
}

Json stream_json(const Services& services, const Channel& channel) {
  return {{"id", channel.id},
          {"object", "stream"},
          {"kind", kind_text(channel)},
          {"created_at", channel.created},
          {"runnel", stream_state(services, channel)}};
}

void list_streams(const Services& services, const Request& request, const ReplyPtr& reply) {
  const auto limit = static_cast<std::size_t>(page_of(request).limit);
  on_streams(services, reply, [&services, reply, limit] {
    std::vector<const Channel*> channels;
    for (const auto& [id, channel] : services.hub.channels()) {
      if (!channel->is_dropped && !channel->is_copy) channels.push_back(channel.get());
    }
    const std::size_t n = std::min(limit, channels.size());
    std::partial_sort(
        channels.begin(), channels.begin() + static_cast<std::ptrdiff_t>(n), channels.end(),
        [](const Channel* a, const Channel* b) { return a->last_used > b->last_used; });
    Json data = Json::array();
    for (std::size_t i = 0; i < n; ++i) data.push_back(stream_json(services, *channels[i]));
    const Hub::Counters hub = services.hub.counters();
    const Scheduler::Counters steps = services.scheduler.counters();
    const Json body = {{"object", "list"},
                       {"data", data},
                       {"has_more", channels.size() > n},
                       {"runnel",
                        {{"streams", channels.size()},
                         {"awake", hub.awake},
                         {"stream_bytes", hub.bytes},
                         {"stream_bytes_limit", services.hub.options().memory_bytes},
                         {"resident_bytes", resident_bytes()},
                         {"tokens_read", steps.tokens_read},
                         {"tokens_written", steps.tokens_written},
                         {"evicted", hub.evicted}}}};
    send_json(reply, body);
  });
}

// A run of tokens: where it begins, and the text of each.
Json run_of(const Services& services, std::int64_t from, std::span<const Token> tokens) {
  Json texts = Json::array();
  for (const Token token : tokens) texts.push_back(services.model.token_text(token));
  return {{"from", from}, {"tokens", texts}};
}

Json cache_json(const Services& services, const Channel& channel) {
  const Place& place = channel.place;
  std::vector<Token> visible;
  std::vector<Token> left;
  if (channel.stream) {
    visible = channel.stream->visible_tokens();
    left = channel.recent.before_last(place.position - place.horizon,
                                      std::min(place.evicted, RecentTokens::kBehindWindow));
  }
  const std::span<const Token> all = visible;
  const std::size_t n_pinned = std::min(all.size(), static_cast<std::size_t>(place.pinned));
  const std::span<const Token> window = all.subspan(n_pinned);
  const std::size_t n_shown = std::min(window.size(), static_cast<std::size_t>(kShownTokens));
  const std::size_t n_newest = std::min(window.size() - n_shown, n_shown);
  const std::size_t n_shown_pinned = std::min(n_pinned, static_cast<std::size_t>(kShownPinned));
  return {
      {"id", channel.id},
      {"object", "stream.cache"},
      {"pinned", run_of(services, 0, all.first(n_shown_pinned))},
      {"left", run_of(services, place.horizon - std::ssize(left), left)},
      {"oldest", run_of(services, std::max(place.pinned, place.horizon), window.first(n_shown))},
      {"newest",
       run_of(services, place.position - std::ssize(window.last(n_newest)), window.last(n_newest))},
      {"runnel", stream_state(services, channel)}};
}

const Channel& found_channel(const Services& services, const Request& request) {
  const Channel* const channel = services.hub.find(request.parameter("id"));
  if (channel == nullptr) refuse_missing("stream", request.parameter("id"));
  return *channel;
}

}  // namespace

Json stream_state(const Services& services, const Channel& channel) {
  Json json = place_json(channel.place);
  json["state"] = state_text(channel);
  json["bytes"] = channel.bytes;
  json["reads_per_second"] = channel.reading.per_second();
  json["writes_per_second"] = channel.writing.per_second();
  const auto live = services.responses.find(channel.head);
  json["response"] =
      live == nullptr ? Json() : Json({{"id", live->id()}, {"n_events", live->number()}});
  json["guard"] = guard_json(channel.guard.measures());
  return json;
}

std::vector<Route> stream_routes(const Services& services) {
  const auto get = [&services](const Request& request, const ReplyPtr& reply) {
    on_streams(services, reply, [&services, request, reply] {
      send_json(reply, stream_json(services, found_channel(services, request)));
    });
  };
  const auto cache = [&services](const Request& request, const ReplyPtr& reply) {
    on_streams(services, reply, [&services, request, reply] {
      send_json(reply, cache_json(services, found_channel(services, request)));
    });
  };
  return {{"GET", "/v1/streams",
           [&services](const Request& request, const ReplyPtr& reply) {
             list_streams(services, request, reply);
           }},
          {"GET", "/v1/streams/{id}", get},
          {"GET", "/v1/streams/{id}/cache", cache}};
}

}  // namespace runnel::serve
