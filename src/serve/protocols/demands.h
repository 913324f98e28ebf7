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
  std::string name;                   // of kNamed
  std::optional<bool> parallel;       // several calls in one answer
  std::optional<std::string> schema;  // the answer is JSON; empty: any object
  std::string schema_field;           // as errors name it
  std::string variables;              // of the template, JSON
  std::optional<bool> thinking;
};

// What a body of each API asks for. RequestError: tools that are no functions, by name; a choice, a
// form or an effort that the API does not have.
Demands demands_of_chat(const Json& body);      // chat completions
Demands demands_of_response(const Json& body);  // responses
Demands demands_of_messages(const Json& body);  // Anthropic's messages
Demands demands_of_ollama(const Json& body);

// Puts what is wanted into the setting and the options. RequestError: a schema that is not
// supported, a choice that cannot be enforced.
void demand(const Services& services, const Demands& demands, Setting& setting,
            AnswerOptions& options);

}  // namespace runnel::serve
