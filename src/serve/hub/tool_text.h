// Tools in words, as Hermes models know them: for templates that have no place for them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "serve/hub/chat_text.h"

namespace runnel::serve {

// What tells a model of its tools; empty where there are none.
std::string tools_in_words(const std::string& tools, CallStyle calls = CallStyle::kTagged);
// The same messages of users and assistants alone, each only once in a row: calls, their results
// and later system prompts as text.
std::vector<Message> in_words(std::span<const Message> messages);
// The tool of a call among the messages, the last one of this id; empty: there is none.
std::string name_of_call(std::span<const Message> messages, const std::string& id);

}  // namespace runnel::serve
