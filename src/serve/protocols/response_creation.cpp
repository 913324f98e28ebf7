#include "serve/protocols/response_creation.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "serve/hub/responses.h"
#include "serve/hub/tool_text.h"
#include "serve/log.h"
#include "serve/protocols/demands.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/feeds.h"
#include "serve/protocols/guard_json.h"
#include "serve/protocols/items.h"
#include "serve/protocols/response_writer.h"
#include "serve/protocols/retries.h"

namespace runnel::serve {
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
  std::string key;  // of the ids that are made for it
  std::string digest;
  std::string text;  // the request's body
  AnswerOptions options;
  Setting setting;  // tools, variables; the system prompt is known when the stream is
  Json response;    // the object that the answer fills
};

namespace {

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
    const auto at = body.find(name);
    return at == body.end() || at->is_null() ? std::move(otherwise) : *at;
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
                   {"parallel_tool_calls", given("parallel_tool_calls", true)},
                   {"previous_response_id", given("previous_response_id", nullptr)},
                   {"reasoning", given("reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
                   {"store", asked.is_stored},
                   {"temperature", sampling.temperature},
                   {"text", given("text", {{"format", {{"type", "text"}}}})},
                   {"tool_choice", given("tool_choice", "auto")},
                   {"tools", given("tools", Json::array())},
                   {"top_p", sampling.top_p},
                   {"truncation", asked.may_evict ? "auto" : "disabled"},
                   {"usage", nullptr}};
  if (!asked.conversation.empty()) response["conversation"] = {{"id", asked.conversation}};
  return response;
}

Asked read_asked(const Services& services, const Request& request) {
  const Json body = parse_object(request.body);
  refuse_missing_features(body,
                          {{"prompt", "this server keeps no prompts; want instructions and input"},
                           {"context_management", "what leaves the window is forgotten, and told"},
                           {"logit_bias", "this server shifts no token's likelihood"}});
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
  if (asked.is_background && !asked.is_stored)
    refuse("background", "background: want a response that is stored, found \"store\": false");
  const std::string truncation = text_field(body, "truncation").value_or("auto");
  if (truncation != "auto" && truncation != "disabled")
    refuse("truncation", "truncation: want auto or disabled, found \"" + truncation + "\"");
  asked.may_evict = truncation == "auto";
  asked.is_retry = is_retry(request);
  asked.text = request.body;
  asked.digest = digest_of(dump(body));
  asked.options.sampling = services.hub.options().stream.sampling;
  read_sampling(body, asked.options);
  asked.options.most_tokens = whole_field(body, "max_output_tokens", 1, std::int64_t{1} << 40);
  asked.options.ends_with_model = !bool_field(body, "ignore_eos").value_or(false);
  asked.options.guard = read_guard(body, services.hub.options().guard);
  asked.options.stops = texts_field(body, "stop");
  asked.options.turn_ends = services.hub.chat().stops();
  demand(services, demands_of_response(body), asked.setting, asked.options);
  for (const std::string& more : texts_field(body, "include"))
    asked.options.wants_log_probabilities |= more == "message.output_text.logprobs";
  if (const auto n_top = whole_field(body, "top_logprobs", 0, 20)) {
    asked.options.wants_log_probabilities = true;
    asked.options.n_top = static_cast<int>(*n_top);
  }
  asked.response = response_object(services, body, asked);
  asked.key = key_of(request, asked.conversation.empty() ? asked.previous : asked.conversation);
  asked.response["id"] = random_id("resp_", asked.key);
  return asked;
}

// Also of a response that is not kept, as long as it is known.
std::optional<StoredResponse> response_row(const Services& services, const std::string& id) {
  auto row = services.store.response(id);
  return row ? row : services.passing.response(id);
}

// As OpenAI's API says it, which clients look for.
[[noreturn]] void refuse_previous(const std::string& id) {
  throw RequestError({.code = "previous_response_not_found",
                      .param = "previous_response_id",
                      .message = "Previous response with id '" + id + "' not found."});
}

// Where the answer will be written.
struct Ground {
  Channel* channel = nullptr;
  Setting setting = {};           // as the stream has it
  std::vector<Message> messages;  // to be read there
  bool is_continued = false;      // the stream held something before
  bool is_new = false;            // the stream was opened for this request
};

// All that was said up to this response, from the store.
std::vector<Message> said_until(const Services& services, const std::string& response) {
  std::vector<StoredResponse> chain;
  for (std::string id = response; !id.empty();) {
    const auto row = response_row(services, id);
    if (!row) refuse_previous(id);
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

Ground new_ground(const Services& services, const Asked& asked, std::vector<Message> messages) {
  Ground ground = {.setting = asked.setting, .messages = std::move(messages), .is_new = true};
  ground.setting.system = take_system(ground.messages);
  ground.channel = &services.hub.open(
      asked.is_stored ? Channel::Kind::kChain : Channel::Kind::kPassing,
      random_id("stream_", asked.key), services.hub.chat().opening(ground.setting));
  ground.channel->system = ground.setting.system;
  return ground;
}

// On a stream that there is. Tools that it was not told of before are told now.
Ground known_ground(const Services& services, const Asked& asked, Channel& channel,
                    std::vector<Message> messages) {
  Ground ground = {&channel, asked.setting, std::move(messages), true};
  ground.setting.system = channel.system;
  const auto head = response_row(services, channel.head);
  const Json last = head ? Json::parse(head->body) : Json::object();
  if (channel.calls.empty() && head) channel.calls = calls_among(last.at("output"));
  for (Message& message : ground.messages) {
    for (const ToolCall& call : channel.calls) {
      if (message.role == "tool" && message.name.empty() && call.id == message.tool_call_id)
        message.name = call.name;
    }
  }
  const bool is_fresh = channel.dialogue == DialogueState::kFresh;
  const bool is_told = last.value("tools", Json::array()) == asked.response.at("tools");
  if (is_fresh || is_told || asked.setting.tools.empty()) return ground;
  const Message tools = {.role = "system",
                         .content = tools_in_words(asked.setting.tools, asked.options.form.calls)};
  ground.messages.insert(ground.messages.begin(), tools);
  return ground;
}

// The stream of the response before, where it stands there still; null: it has gone on, or is gone.
// What is not kept goes on on a copy, so that it leaves no trace on a stream that is.
Channel* stream_behind(const Services& services, const Asked& asked, const StoredResponse& before) {
  Channel* const channel = services.hub.find(before.channel);
  if (channel == nullptr || channel->head != before.id) return nullptr;
  const bool is_kept = channel->kind != Channel::Kind::kPassing;
  if (asked.is_stored == is_kept) return channel;
  if (asked.is_stored || !channel->is_idle()) return nullptr;
  return &services.hub.fork(*channel, Channel::Kind::kPassing, random_id("stream_", asked.key),
                            [] {});
}

Ground ground_of(const Services& services, const Asked& asked, const Held* held) {
  const auto with_instructions = [&](const std::string& known) {
    std::vector<Message> messages = asked.messages;
    if (!asked.instructions.empty() && asked.instructions != known)
      messages.insert(messages.begin(), {"system", asked.instructions});
    return messages;
  };
  if (!asked.conversation.empty()) {
    Channel* const channel = services.hub.find(asked.conversation);
    if (channel == nullptr) refuse_missing("conversation", asked.conversation);
    return known_ground(services, asked, *channel, with_instructions(channel->system));
  }
  if (asked.previous.empty()) return new_ground(services, asked, with_instructions(""));
  const bool is_held = held != nullptr && held->contains(asked.previous);
  const auto row =
      is_held ? response_row(services, asked.previous) : services.store.response(asked.previous);
  if (!row) refuse_previous(asked.previous);
  if (Channel* const channel = stream_behind(services, asked, *row))
    return known_ground(services, asked, *channel, with_instructions(channel->system));
  // What was said until then passes the model again.
  std::vector<Message> all = said_until(services, asked.previous);
  const std::vector<Message> more = with_instructions(all.empty() ? "" : all.front().content);
  all.insert(all.end(), more.begin(), more.end());
  return new_ground(services, asked, std::move(all));
}

// The response to the same request, where this one repeats it.
std::optional<StoredResponse> answered_before(const Services& services, const Asked& asked) {
  if (asked.previous.empty() && !asked.is_retry) return std::nullopt;
  const auto row =
      store_of(services, asked).response_to(asked.previous, asked.conversation, asked.digest);
  if (!row || row->status == "failed") return std::nullopt;
  if (asked.previous.empty() && !is_recent(*row)) return std::nullopt;
  return row;
}

// "truncation": "disabled" asks for an error where something would be forgotten.
void check_fit(const Services& services, const Ground& ground) {
  const Channel& channel = *ground.channel;
  const std::int64_t room = channel.place.pinned + channel.place.window - channel.place.position;
  const Standing standing = {channel.dialogue, channel.calls};
  std::size_t bytes = 0;
  for (const Message& message : ground.messages) bytes += message.content.size();
  std::int64_t n = room + 1;
  if (bytes < static_cast<std::size_t>(std::max<std::int64_t>(room, 0)) * 64) {
    n = std::ssize(services.hub.chat().turns(ground.setting, standing, ground.messages, true));
  }
  if (n <= room) return;
  if (ground.is_new) services.hub.drop(*ground.channel);
  throw RequestError(
      {.code = "context_length_exceeded",
       .param = "input",
       .message = fmt::format("the input does not fit the window, and truncation is disabled: the "
                              "stream has room for {} tokens",
                              std::max<std::int64_t>(room, 0))});
}

// Returns the response's id.
std::string begin_answer(const Services& services, const Asked& asked, const Ground& ground,
                         Held* held) {
  const auto live = std::make_shared<LiveResponse>(
      store_of(services, asked), asked.response.at("id").get<std::string>(), asked.is_background);
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
                              .body = dump(asked.response),
                              .asked = asked.text};
  live->store().put(row);
  const auto writer = std::make_shared<ResponseWriter>(services, live, row, asked.response,
                                                       asked.conversation, ground.is_continued);
  services.responses.add(live);
  writer->start();
  const auto prepare = [&hub, &channel, writer, setting = ground.setting,
                        messages = ground.messages]() -> Channel::Reading {
    const Standing standing = {channel.dialogue, channel.calls};
    writer->set_dialogue(standing.state);
    channel.is_begun = true;
    channel.dialogue = Dialogues::state_behind(standing.state, messages, true);
    return [&hub, setting, standing, messages] {
      return hub.chat().turns(setting, standing, messages, true);
    };
  };
  try {
    live->answer = hub.answer(channel, asked.options, writer, prepare);
  } catch (const Error&) {  // no memory: as if nobody had asked
    services.responses.remove(live->id());
    live->store().drop_response(live->id());
    throw;
  }
  channel.head = live->id();
  if (held != nullptr && !asked.is_stored) {
    held->insert(live->id());
    channel.is_held = true;
  }
  return live->id();
}

// Goes on with a response where the process before was stopped; one whose request was not read to
// its end is taken back, so that the client may ask again.
void resume(const Services& services, StoredResponse row) {
  Channel* const channel = services.hub.find(row.channel);
  const Asked asked = read_asked(services, {.body = row.asked});
  const auto live = std::make_shared<LiveResponse>(services.store, row.id, asked.is_background,
                                                   services.store.n_events(row.id));
  const auto writer = std::make_shared<ResponseWriter>(services, live, row, Json::parse(row.body),
                                                       asked.conversation, row.begin > 0);
  // Of what was written, all before the first token that is still known was shown.
  const std::int64_t known_from =
      std::max(row.read_until, services.store.begin_of_tokens(row.channel));
  writer->go_on(services.store.events(row.id, 0, INT64_MAX), known_from);
  const std::int64_t end = services.store.end_of_tokens(row.channel);
  if (channel == nullptr || row.read_until < 0 || end < row.read_until) {
    if (channel != nullptr && channel->head == row.id) channel->head = row.previous;
    if (channel != nullptr) services.hub.take_back(*channel, row);
    return writer->fail("the server was stopped before it had read the request");
  }
  AnswerOptions options = asked.options;
  std::vector<Token> written = services.store.tokens(row.channel, known_from);
  const std::int64_t n_written = end - row.read_until;
  options.seed = seed_after(row.seed, n_written, options.sampling.temperature);
  options.resumed = {.n_cached = row.begin,
                     .n_read = row.read_until - row.begin,
                     .n_written = n_written,
                     .written = std::move(written)};
  services.responses.add(live);
  live->answer = services.hub.answer(*channel, std::move(options), writer, {});
}

}  // namespace

std::shared_ptr<const Asked> asked_of(const Services& services, const Request& request) {
  return std::make_shared<const Asked>(read_asked(services, request));
}

bool is_streamed(const Asked& asked) { return asked.is_streamed; }
bool is_background(const Asked& asked) { return asked.is_background; }
std::vector<std::string> streams_asked(const Asked& asked) {
  std::vector<std::string> ids;
  if (!asked.conversation.empty()) ids.push_back(asked.conversation);
  if (!asked.previous.empty()) ids.push_back(asked.previous);
  return ids;
}

Store& store_of(const Services& services, const Asked& asked) {
  return asked.is_stored ? services.store : services.passing;
}

std::string respond(const Services& services, const Asked& asked, Held* held) {
  if (const auto row = answered_before(services, asked)) return row->id;
  const Ground ground = ground_of(services, asked, held);
  if (!asked.may_evict) check_fit(services, ground);
  return begin_answer(services, asked, ground, held);
}

void release(const Services& services, const Held& held) {
  for (const std::string& id : held) {
    const auto row = services.passing.response(id);
    Channel* const channel = row ? services.hub.find(row->channel) : nullptr;
    if (channel != nullptr) services.hub.release(*channel);
  }
}

std::string steer(const Services& services, const std::string& response, const Request& request,
                  const std::string& input, Held* held) {
  const std::shared_ptr<LiveResponse> live = services.responses.find(response);
  const auto row = response_row(services, response);
  Channel* const channel = row ? services.hub.find(row->channel) : nullptr;
  if (live == nullptr || channel == nullptr)
    throw RequestError({.code = "response_not_active",
                        .message = "the response is not being written: " + response});
  Json body = parse_object(request.body);
  body["input"] = Json::parse(input, nullptr, false);
  if (!body.contains("conversation")) body["previous_response_id"] = response;
  const Asked asked = read_asked(services, {.headers = request.headers, .body = dump(body)});
  live->answer->steer_away();
  return begin_answer(services, asked, known_ground(services, asked, *channel, asked.messages),
                      held);
}

void resume_responses(const Services& services, const std::string& stream) {
  for (const StoredResponse& row : services.store.responses_with_status("in_progress")) {
    if (!stream.empty() && row.channel != stream) continue;
    try {
      is_feed(row.id) ? settle_feed(services, row) : resume(services, row);
    } catch (const std::exception& error) {
      log_warning(fmt::format("response {}: not gone on with: {}", row.id, error.what()));
    }
  }
}

}  // namespace runnel::serve
