// Routes to functions of a protocol.
#pragma once

#include "serve/protocols/errors.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

using RouteFunction = void (*)(const Services&, const Request&, const ReplyPtr&);

// Borrows the services. `error_body`: how the protocol writes errors; null: as OpenAI's API.
inline Route route_to(const Services& services, const char* method, const char* path,
                      RouteFunction function, ErrorBody error_body = nullptr) {
  return {method, path,
          [&services, function, error_body](const Request& request, const ReplyPtr& reply) {
            if (error_body == nullptr) return function(services, request, reply);
            answer_errors(
                reply, [&] { function(services, request, reply); }, error_body);
          }};
}

}  // namespace runnel::serve
