// A dialogue as one text that another one's can be compared with: what was said, by whom, in which
// setting. Thoughts and the names of calls are no part of it, since clients do not bring them back,
// nor is the space in the JSON of arguments.
#pragma once

#include <string>

#include "serve/hub/chat_text.h"

namespace runnel::serve {

// Both end with a line break, and hold no other.
std::string transcript(const Setting& setting);
std::string transcript(const Message& message);

}  // namespace runnel::serve
