#include "serve/protocols/errors.h"

#include <nlohmann/json.hpp>

#include "serve/hub/hub.h"
#include "serve/log.h"

namespace runnel::serve {
namespace {

using Json = nlohmann::json;

constexpr const char* kRetryAfter = "2";

std::string type_of(int status) {
  if (status == 401) return "authentication_error";
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

}  // namespace

void refuse(const std::string& param, const std::string& message) {
  throw RequestError({.code = "invalid_value", .param = param, .message = message});
}

void refuse_missing(const std::string& kind, const std::string& id) {
  throw RequestError(
      {.status = 404, .code = "not_found", .message = "no such " + kind + ": " + id});
}

Fault stream_elsewhere() {
  return {.status = 503,
          .code = "stream_elsewhere",
          .message = "another server is at work on the stream",
          .headers = {{"Retry-After", kRetryAfter}}};
}

std::string error_body(const Fault& fault) {
  const Json body = {{"error",
                      {{"message", fault.message},
                       {"type", error_type(fault)},
                       {"param", or_null(fault.param)},
                       {"code", or_null(fault.code)}}}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string error_type(const Fault& fault) {
  return fault.type.empty() ? type_of(fault.status) : fault.type;
}

Fault fault_of(const std::exception& error) {
  if (const auto* known = dynamic_cast<const RequestError*>(&error)) return known->fault;
  if (dynamic_cast<const Busy*>(&error) != nullptr) {
    return {.status = 429,
            .code = "no_memory_for_stream",
            .message = error.what(),
            .headers = {{"Retry-After", kRetryAfter}}};
  }
  if (dynamic_cast<const Error*>(&error) != nullptr) return {.message = error.what()};
  log_warning(std::string("a request failed: ") + error.what());
  return {.status = 500, .message = error.what()};
}

void send_error(const ReplyPtr& reply, const Fault& fault, ErrorBody body) {
  reply->send(fault.status, "application/json", body(fault), fault.headers);
}

void answer_errors(const ReplyPtr& reply, const std::function<void()>& work, ErrorBody body) {
  try {
    work();
  } catch (const std::exception& error) {
    send_error(reply, fault_of(error), body);
  }
}

}  // namespace runnel::serve
