// Items of OpenAI's Responses and Conversations: what was said, as JSON and as messages.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "serve/hub/chat_text.h"
#include "serve/protocols/json_body.h"
#include "serve/store/store.h"

namespace runnel::serve {

// "input" of a response or "items" of a conversation: a text, or a list of items. Returns a list of
// whole items, each with an id. RequestError: items of other kinds, by name.
Json items_of(const Json& input, const std::string& where);
std::vector<Message> messages_of_items(const Json& items);
// The system prompt that the items begin with, taken out of the messages.
std::string take_system(std::vector<Message>& messages);

std::vector<StoredItem> stored(const Json& items);
// A list as the API gives lists.
Json list_of(const std::vector<StoredItem>& items, int limit);
Page page_of(const Request& request);

// What an answer is made of, as items.
Json output_message(const std::string& id, const std::string& text, const char* status);
Json output_reasoning(const std::string& id, const std::string& text, const char* status);
Json output_call(const std::string& id, const ToolCall& call, const char* status);
// The calls among the items.
std::vector<ToolCall> calls_among(const Json& items);

}  // namespace runnel::serve
