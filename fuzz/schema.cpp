// Any bytes as a JSON schema, and a text that is matched against it byte by byte: an Error or a
// state, and the states of a prefix stay what they were.
#include <algorithm>
#include <string_view>

#include "grammar/grammar.h"
#include "grammar/json_schema.h"
#include "runnel/error.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace runnel;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t seam = std::min(input.find('\0'), input.size());
  try {
    Grammar grammar;
    grammar.set_start(json_schema_rule(grammar, input.substr(0, seam)));
    Matcher matcher(grammar);
    int state = matcher.start();
    for (std::size_t i = seam + 1; i < size && state != Matcher::kDead; ++i) {
      const int next = matcher.step(state, data[i]);
      if (matcher.step(state, data[i]) != next) __builtin_trap();
      if (next != Matcher::kDead && !matcher.is_complete(next) && !matcher.can_go_on(next))
        __builtin_trap();
      state = next;
    }
  } catch (const Error&) {
  }
  return 0;
}
