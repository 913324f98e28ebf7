// /v1/responses: OpenAI's Responses. An answer is a run of steps on a stream: a conversation's,
// that of the response before it, or a new one.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "serve/hub/responses.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/items.h"
#include "serve/protocols/response_writer.h"
#include "serve/protocols/services.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kRetrySeconds = 600;  // so long after its request is a retry taken for one

// A request, read.
struct Asked {
  Json items;  // input
  std::vector<Message> messages;
  std::string instructions;
  std::string previous;
  std::string conversation;
  bool is_streamed = false;
  bool is_background = false;
  bool is_stored = true;
  bool may_evict = true;  // truncation: "auto"
  bool is_retry = false;
  std::string digest;
  AnswerOptions options;
  Json response;  // the object that the answer fills
};

std::string digest_of(const std::string& body) {
  std::uint64_t a = 14695981039346656037u;  // FNV-1a, twice with different beginnings
  std::uint64_t b = 0x9e3779b97f4a7c15u;
  for (const char byte : body) {
    a = (a ^ static_cast<unsigned char>(byte)) * 1099511628211u;
    b = (b ^ static_cast<unsigned char>(byte)) * 1099511628211u + (a >> 31);
  }
  return fmt::format("{:016x}{:016x}", a, b);
}

std::string conversation_id(const Json& body) {
  const auto given = body.find("conversation");
  if (given == body.end() || given->is_null()) return {};
  if (given->is_string()) return given->get<std::string>();
  if (given->is_object()) return text_field(*given, "id").value_or("");
  refuse("conversation", "conversation: want an id, or an object with one");
}

Json response_object(const Services& services, const Json& body, const Asked& asked) {
  const SamplingOptions& sampling = asked.options.sampling;
  const auto given = [&](const char* name, Json otherwise) {
    return body.value(name, std::move(otherwise));
  };
  Json response = {{"id", random_id("resp_")},
                   {"object", "response"},
                   {"created_at", unix_seconds()},
                   {"status", "queued"},
                   {"background", asked.is_background},
                   {"error", nullptr},
                   {"incomplete_details", nullptr},
                   {"instructions", given("instructions", nullptr)},
                   {"max_output_tokens", given("max_output_tokens", nullptr)},
                   {"metadata", given("metadata", Json::object())},
                   {"model", services.model_id},
                   {"output", Json::array()},
                   {"parallel_tool_calls", true},
                   {"previous_response_id", given("previous_response_id", nullptr)},
                   {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                   {"store", asked.is_stored},
                   {"temperature", sampling.temperature},
                   {"text", {{"format", {{"type", "text"}}}}},
                   {"tool_choice", "auto"},
                   {"tools", Json::array()},
                   {"top_p", sampling.top_p},
                   {"truncation", asked.may_evict ? "auto" : "disabled"},
                   {"usage", nullptr}};
  if (!asked.conversation.empty()) response["conversation"] = {{"id", asked.conversation}};
  return response;
}

void refuse_what_there_is_not(const Json& body) {
  if (const auto tools = body.find("tools"); tools != body.end() && !tools->empty())
    refuse("tools", "tools: this server does not call functions");
  if (const auto text = body.find("text"); text != body.end() && text->is_object()) {
    const Json format = text->value("format", Json::object());
    const std::string type = format.is_object() ? format.value("type", "text") : "text";
    if (type != "text") refuse("text.format", "text.format: want text, found " + type);
  }
}

Asked asked_of(const Services& services, const Request& request) {
  const Json body = parse_object(request.body);
  refuse_what_there_is_not(body);
  Asked asked = {.items = items_of(body.value("input", Json()), "input")};
  asked.messages = messages_of_items(asked.items);
  asked.instructions = text_field(body, "instructions").value_or("");
  asked.previous = text_field(body, "previous_response_id").value_or("");
  asked.conversation = conversation_id(body);
  if (!asked.previous.empty() && !asked.conversation.empty())
    refuse("previous_response_id", "want previous_response_id or conversation, found both");
  asked.is_streamed = bool_field(body, "stream").value_or(false);
  asked.is_background = bool_field(body, "background").value_or(false);
  asked.is_stored = bool_field(body, "store").value_or(true);
  const std::string truncation = text_field(body, "truncation").value_or("auto");
  if (truncation != "auto" && truncation != "disabled")
    refuse("truncation", "truncation: want auto or disabled, found \"" + truncation + "\"");
  asked.may_evict = truncation == "auto";
  asked.is_retry = !request.header("x-stainless-retry-count").empty() &&
                   request.header("x-stainless-retry-count") != "0";
  asked.digest = digest_of(dump(body));
  asked.options.sampling = services.hub.options().stream.sampling;
  read_sampling(body, asked.options);
  asked.options.most_tokens = whole_field(body, "max_output_tokens", 1, std::int64_t{1} << 40);
  asked.options.ends_with_model = !bool_field(body, "ignore_eos").value_or(false);
  asked.options.stops = texts_field(body, "stop");
  const std::vector<std::string>& stops = services.hub.chat().stops();
  asked.options.stops.insert(asked.options.stops.end(), stops.begin(), stops.end());
  if (const auto n_top = whole_field(body, "top_logprobs", 0, 20)) {
    asked.options.wants_log_probabilities = true;
    asked.options.n_top = static_cast<int>(*n_top);
  }
  asked.response = response_object(services, body, asked);
  return asked;
}

// Where the answer will be written.
struct Ground {
  Channel* channel = nullptr;
  std::vector<Message> messages;  // to be read there
  bool is_continued = false;      // the stream held something before
};

// All that was said up to this response, from the store.
std::vector<Message> said_until(const Services& services, const std::string& response) {
  std::vector<StoredResponse> chain;
  for (std::string id = response; !id.empty();) {
    const auto row = services.store.response(id);
    if (!row) refuse_missing("response", id);
    id = row->previous;
    chain.push_back(*row);
  }
  std::vector<Message> messages;
  std::string instructions;
  const auto add = [&](const Json& items) {
    for (Message& message : messages_of_items(items)) messages.push_back(std::move(message));
  };
  for (auto row = chain.rbegin(); row != chain.rend(); ++row) {
    const Json body = Json::parse(row->body);
    if (const Json& given = body.at("instructions"); given.is_string() && given != instructions) {
      instructions = given.get<std::string>();
      messages.push_back({"system", instructions});
    }
    add(Json::parse(row->input));
    add(body.at("output"));
  }
  return messages;
}

Ground new_ground(const Services& services, std::vector<Message> messages) {
  Ground ground = {.messages = std::move(messages)};
  const std::string system = take_system(ground.messages);
  const ChatText& chat = services.hub.chat();
  std::vector<Token> pinned;
  if (!system.empty()) pinned = chat.encode(chat.opening(system), true);
  ground.channel =
      &services.hub.open(Channel::Kind::kChain, random_id("stream_"), std::move(pinned));
  ground.channel->system = system;
  return ground;
}

Ground ground_of(const Services& services, const Asked& asked) {
  const auto with_instructions = [&](const std::string& known) {
    std::vector<Message> messages = asked.messages;
    if (!asked.instructions.empty() && asked.instructions != known)
      messages.insert(messages.begin(), {"system", asked.instructions});
    return messages;
  };
  if (!asked.conversation.empty()) {
    Channel* const channel = services.hub.find(asked.conversation);
    if (channel == nullptr) refuse_missing("conversation", asked.conversation);
    return {channel, with_instructions(channel->system), true};
  }
  if (asked.previous.empty()) return new_ground(services, with_instructions(""));
  const auto row = services.store.response(asked.previous);
  if (!row) refuse_missing("response", asked.previous);
  Channel* const channel = services.hub.find(row->channel);
  if (channel != nullptr && channel->head == asked.previous)
    return {channel, with_instructions(channel->system), true};
  // The stream has gone on, or is gone: what was said until then passes the model again.
  std::vector<Message> all = said_until(services, asked.previous);
  const std::vector<Message> more = with_instructions(all.empty() ? "" : all.front().text);
  all.insert(all.end(), more.begin(), more.end());
  return new_ground(services, std::move(all));
}

// The response to the same request, where this one repeats it.
std::optional<StoredResponse> answered_before(const Services& services, const Asked& asked) {
  if (asked.previous.empty() && !asked.is_retry) return std::nullopt;
  const auto row = services.store.response_to(asked.previous, asked.conversation, asked.digest);
  if (!row || row->status == "failed") return std::nullopt;
  if (asked.previous.empty() && unix_seconds() - row->created > kRetrySeconds) return std::nullopt;
  return row;
}

// "truncation": "disabled" asks for an error where something would be forgotten.
void check_fit(const Services& services, const Ground& ground) {
  const Channel& channel = *ground.channel;
  const std::int64_t room = channel.place.pinned + channel.place.window - channel.place.position;
  DialogueState state = channel.dialogue;
  std::size_t bytes = 0;
  for (const Message& message : ground.messages) bytes += message.text.size();
  std::int64_t n = room + 1;
  if (bytes < static_cast<std::size_t>(std::max<std::int64_t>(room, 0)) * 64) {
    n = std::ssize(
        services.hub.chat().encode(services.hub.chat().turns(ground.messages, state, true), false));
  }
  if (n <= room) return;
  throw RequestError(
      {.code = "context_length_exceeded",
       .param = "input",
       .message = fmt::format("the input does not fit the window, and truncation is disabled: the "
                              "stream has room for {} tokens",
                              std::max<std::int64_t>(room, 0))});
}

// To the client what the response's events are, from `first` on, or the object when it is whole.
void attach(const Services& services, const ReplyPtr& reply, const std::string& id,
            bool is_streamed, std::int64_t first) {
  const std::shared_ptr<LiveResponse> live = services.responses.find(id);
  if (is_streamed) reply->begin("text/event-stream", ": waiting\n\n");
  const auto end = [&services, reply, id, is_streamed] {
    if (is_streamed) return reply->end();
    const auto row = services.store.response(id);
    if (!row) return send_error(reply, {.status = 404, .message = "no such response: " + id});
    reply->send(200, "application/json", row->body);
  };
  if (live == nullptr) {
    if (is_streamed) {
      for (const auto& [number, event] : services.store.events(id, first, INT64_MAX))
        reply->write(event);
    }
    return end();
  }
  const std::uint64_t listener = live->listen(first, {.event =
                                                          [reply, is_streamed](const auto& event) {
                                                            if (is_streamed) reply->write(event);
                                                          },
                                                      .end = end});
  reply->on_gone([live, listener] { live->stop_listening(listener); });
}

void begin_answer(const Services& services, const Asked& asked, const Ground& ground,
                  const std::shared_ptr<LiveResponse>& live) {
  Hub& hub = services.hub;
  Channel& channel = *ground.channel;
  if (!asked.instructions.empty()) channel.system = asked.instructions;
  const StoredResponse row = {.id = live->id(),
                              .channel = channel.id,
                              .previous = asked.previous,
                              .request = asked.digest,
                              .status = "in_progress",
                              .created = unix_seconds(),
                              .input = dump(asked.items),
                              .body = dump(asked.response)};
  services.store.put(row);
  if (!asked.conversation.empty())
    services.store.add_items(asked.conversation, stored(asked.items));
  const auto writer = std::make_shared<ResponseWriter>(services, live, row, asked.response,
                                                       asked.conversation, ground.is_continued);
  services.responses.add(live);
  writer->start();
  live->answer = hub.answer(channel, asked.options, writer,
                            [&hub, &channel, messages = ground.messages]() -> Channel::Reading {
                              const bool is_first = !std::exchange(channel.is_begun, true);
                              auto segments = hub.chat().turns(messages, channel.dialogue, true);
                              return [&hub, segments = std::move(segments), is_first] {
                                return hub.chat().encode(segments, is_first);
                              };
                            });
  channel.head = live->id();
}

void create(const Services& services, const Request& request, const ReplyPtr& reply) {
  const auto asked = std::make_shared<const Asked>(asked_of(services, request));
  on_streams(services, reply, [asked, &services, reply] {
    if (const auto row = answered_before(services, *asked))
      return attach(services, reply, row->id, asked->is_streamed, 0);
    const Ground ground = ground_of(services, *asked);
    if (!asked->may_evict) check_fit(services, ground);
    const std::string id = asked->response.at("id").get<std::string>();
    const auto live = std::make_shared<LiveResponse>(services.store, id, asked->is_background);
    begin_answer(services, *asked, ground, live);
    if (!asked->is_background || asked->is_streamed)
      return attach(services, reply, id, asked->is_streamed, 0);
    reply->send(200, "application/json", dump(asked->response));
  });
}

StoredResponse found(const Services& services, const std::string& id) {
  const auto row = services.store.response(id);
  if (!row) refuse_missing("response", id);
  return *row;
}

void get(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found(services, request.parameter("id"));
  const auto query = [&](const char* name) {
    const auto at = request.query.find(name);
    return at == request.query.end() ? std::string() : at->second;
  };
  if (query("stream") != "true") return reply->send(200, "application/json", row.body);
  std::int64_t after = -1;
  if (const std::string text = query("starting_after"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), after);
    if (error != std::errc() || *end != '\0' || after < 0)
      refuse("starting_after", "starting_after: want the number of an event, found " + text);
  }
  attach(services, reply, row.id, true, after + 1);
}

void cancel(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found(services, request.parameter("id"));
  on_streams(services, reply, [=, &services] {
    if (const auto live = services.responses.find(row.id)) live->answer->cancel();
    attach(services, reply, row.id, false, 0);
  });
}

void remove(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found(services, request.parameter("id"));
  on_streams(services, reply, [=, &services] {
    if (const auto live = services.responses.find(row.id)) live->answer->cancel();
    Channel* const channel = services.hub.find(row.channel);
    const bool is_last = channel != nullptr && channel->head == row.id;
    if (is_last && channel->kind == Channel::Kind::kChain) services.hub.drop(*channel);
    services.store.drop_response(row.id);
    reply->send(200, "application/json",
                dump({{"id", row.id}, {"object", "response"}, {"deleted", true}}));
  });
}

void list_input(const Services& services, const Request& request, const ReplyPtr& reply) {
  const StoredResponse row = found(services, request.parameter("id"));
  Json items = Json::parse(row.input);
  if (page_of(request).is_descending) std::reverse(items.begin(), items.end());
  const std::vector<StoredItem> list = stored(items);
  reply->send(200, "application/json", dump(list_of(list, static_cast<int>(list.size()))));
}

}  // namespace

std::vector<Route> response_routes(const Services& services) {
  using Function = void (*)(const Services&, const Request&, const ReplyPtr&);
  const auto route = [&services](const char* method, const char* path, Function function) {
    return Route{method, path,
                 [&services, function](const Request& request, const ReplyPtr& reply) {
                   function(services, request, reply);
                 }};
  };
  return {route("POST", "/v1/responses", create), route("GET", "/v1/responses/{id}", get),
          route("DELETE", "/v1/responses/{id}", remove),
          route("POST", "/v1/responses/{id}/cancel", cancel),
          route("GET", "/v1/responses/{id}/input_items", list_input)};
}

}  // namespace runnel::serve
