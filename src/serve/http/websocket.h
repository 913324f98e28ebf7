// From an HTTP request to a WebSocket. Included by the two files that know Boost, alone.
#pragma once

#include <memory>

#include "serve/http/limits.h"
#include "serve/protocols/exchange.h"

namespace runnel::serve {

class Transport;

// Message: Beast's request. True when it asks for a WebSocket.
template <typename Message>
bool is_websocket_upgrade(const Message& message);

// Takes the connection over, and answers the request. `place` is let go when the connection ends.
template <typename Message>
void accept_websocket(Transport transport, Message message, const SocketRoute& route,
                      const Request& request, const HttpLimits& limits,
                      std::shared_ptr<void> place);

}  // namespace runnel::serve
