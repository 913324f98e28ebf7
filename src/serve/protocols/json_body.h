// Reading the JSON of requests: within limits, and with errors that name the field.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "serve/hub/answer.h"
#include "serve/hub/chat_text.h"
#include "serve/protocols/exchange.h"

namespace runnel::serve {

using Json = nlohmann::json;

// The body as an object; an empty body is an empty one. RequestError: not JSON, nested deeper than
// 64, or something else than an object.
Json parse_object(const std::string& body);
// A field that asks for what this server does not do, and what to say of it.
struct Missing {
  const char* field;
  const char* why;
};
// RequestError where one of them asks for something: null, false, 0, "" and what is empty do not.
void refuse_missing_features(const Json& object, std::initializer_list<Missing> fields);

// A field, absent or null: nothing. RequestError: of another type, or out of range.
std::optional<std::string> text_field(const Json& object, const char* name);
std::optional<bool> bool_field(const Json& object, const char* name);
std::optional<double> number_field(const Json& object, const char* name, double low, double high);
std::optional<std::int64_t> whole_field(const Json& object, const char* name, std::int64_t low,
                                        std::int64_t high);
// A string or a list of strings.
std::vector<std::string> texts_field(const Json& object, const char* name);

// temperature, top_p, seed, the penalties and the rest that several APIs share, over `base`.
void read_sampling(const Json& object, AnswerOptions& options);

// A message's text: a string, or a list of parts with text. RequestError: other parts, by name.
std::string content_text(const Json& content, const std::string& where);

// What a call passes to its tool, an object; null: none, as where it was cut off.
Json arguments_object(const ToolCall& call);

std::string dump(const Json& json);
void send_json(const ReplyPtr& reply, const Json& body);
// "data: ...\n\n", with an event name where there is one.
std::string server_event(const std::string& name, const Json& data);
Json place_json(const Place& place);

// "resp_" and 32 hexadecimal digits, of which the first 16 are the key: where several servers share
// streams, all ids of a conversation have one key, by which a request finds its server.
std::string random_id(const char* prefix, const std::string& key = "");
// That of an id; where there is none, the one that the request was given on its way here.
std::string key_of(const Request& request, const std::string& id);
std::int64_t unix_seconds();

}  // namespace runnel::serve
