// Whatever stands in a request's path and body ends in a value or in an Error that can be sent.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "serve/http/router.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/items.h"
#include "serve/protocols/json_body.h"

using namespace runnel;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  serve::Request request;
  serve::split_target(text, request);
  try {
    serve::page_of(request);
    const serve::Json body = serve::parse_object(text);
    serve::AnswerOptions options;
    serve::read_sampling(body, options);
    serve::texts_field(body, "stop");
    const serve::Json items = serve::items_of(body.value("input", serve::Json()), "input");
    auto messages = serve::messages_of_items(items);
    serve::take_system(messages);
    serve::stored(items);
  } catch (const Error& error) {
    serve::error_body(serve::fault_of(error));
  }
  return 0;
}
