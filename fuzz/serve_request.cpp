// Whatever stands in a request's path and body ends in a value or in an Error that can be sent. Two
// inputs in one, with a zero byte between them: the path and the body.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "serve/cluster/cluster.h"
#include "serve/http/router.h"
#include "serve/protocols/completion_answer.h"
#include "serve/protocols/demands.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/guard_json.h"
#include "serve/protocols/items.h"
#include "serve/protocols/json_body.h"

using namespace runnel;

namespace {

// Does it, and turns what it throws into what would be sent.
template <typename Work>
void attempt(Work work) {
  try {
    work();
  } catch (const Error& error) {
    const std::string body = serve::error_body(serve::fault_of(error));
    if (!serve::Json::accept(body)) __builtin_trap();
  }
}

void read_items(const serve::Json& body) {
  const serve::Json items = serve::items_of(body.value("input", serve::Json()), "input");
  auto messages = serve::messages_of_items(items);
  serve::take_system(messages);
  serve::stored(items);
  serve::calls_among(items);
}

void read_demands(const serve::Json& body) {
  serve::Demands demands;
  attempt([&] { demands.tools = serve::tools_of_chat(body); });
  attempt([&] { demands.tools = serve::tools_of_responses(body); });
  attempt([&] { demands.tools = serve::tools_of_messages(body); });
  attempt([&] { serve::read_choice(body, demands); });
  attempt([&] {
    const serve::Json format = body.value("response_format", serve::Json());
    serve::read_format(format, format, "response_format", demands);
  });
  attempt([&] { serve::read_template_variables(body, std::nullopt, demands); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::size_t seam = std::min(text.find('\0'), text.size());
  serve::Request request;
  request.body = text.substr(std::min(seam + 1, text.size()));
  serve::split_target(text.substr(0, seam), request);
  attempt([&] { serve::page_of(request); });
  serve::Cluster::ids_of(request);
  serve::Json body;
  attempt([&] { body = serve::parse_object(request.body); });
  if (!body.is_object()) return 0;
  serve::AnswerOptions options;
  attempt([&] { serve::read_sampling(body, options); });
  attempt([&] { serve::texts_field(body, "stop"); });
  attempt([&] { serve::read_guard(body, {}); });
  attempt([&] { serve::messages_of(body); });
  attempt([&] { read_items(body); });
  read_demands(body);
  return 0;
}
