// Any bytes as a chat template, and as the JSON that it renders: a text or an Error, within limits.
#include <algorithm>
#include <string_view>

#include "jinja/template.h"
#include "runnel/error.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace runnel::jinja;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t seam = std::min(input.find('\0'), input.size());
  Variables variables = {{"s", Value::text("a <b> c\n", Origin::kValue)},
                         {"n", Value::of(std::int64_t{3})}};
  const Limits limits = {.steps = 100'000, .text_bytes = 1 << 16, .depth = 200};
  try {
    if (seam < input.size()) {
      Value given = value_from_json(input.substr(seam + 1), Origin::kValue);
      variables.emplace_back("messages", std::move(given));
    }
    const Text text = Template::parse(input.substr(0, seam)).render(variables, limits, std::tm{});
    if (text.size() > limits.text_bytes) __builtin_trap();
  } catch (const runnel::Error&) {
  }
  return 0;
}
