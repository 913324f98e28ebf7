// What an answer has to be, as several APIs ask for it: calls of tools, JSON.
#pragma once

#include <optional>
#include <string>

#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

struct Demands {
  enum class Choice { kAuto, kNone, kRequired, kNamed };

  std::string tools;  // JSON, as chat completions have it; empty: none
  Choice choice = Choice::kAuto;
  std::string name;                        // of kNamed
  std::optional<bool> parallel;            // several calls in one answer
  std::optional<std::string> schema;       // the answer is JSON; empty: any object
  std::string schema_field, choice_field;  // as errors name them
  std::string variables;                   // of the template, JSON
  std::optional<bool> thinking;
};

// Each API's list of tools in the form of chat completions; null and empty: none. RequestError:
// tools that are no functions, by name.
std::string tools_of_chat(const Json& body);       // {"type": "function", "function": {...}}
std::string tools_of_responses(const Json& body);  // {"type": "function", "name": ...}
std::string tools_of_messages(const Json& body);   // {"name": ..., "input_schema": ...}

// "tool_choice" and "parallel_tool_calls" of chat completions and responses.
void read_choice(const Json& body, Demands& demands);
// {"type": "json_schema", ...}; `inner`: the object that holds the schema.
void read_format(const Json& format, const Json& inner, const std::string& field, Demands& demands);
// "chat_template_kwargs" and an effort of thinking.
void read_template_variables(const Json& body, const std::optional<std::string>& effort,
                             Demands& demands);

// Puts what is wanted into the setting and the options. RequestError: a schema that is not
// supported, a choice that cannot be enforced.
void demand(const Services& services, const Demands& demands, Setting& setting,
            AnswerOptions& options);

}  // namespace runnel::serve
