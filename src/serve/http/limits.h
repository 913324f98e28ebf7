// What a client may ask of the server before anybody looks at the request.
#pragma once

#include <chrono>
#include <cstddef>

namespace runnel::serve {

struct HttpLimits {
  std::size_t body_bytes = 16 << 20;
  std::size_t header_bytes = 32 << 10;
  std::size_t unsent_bytes = 8 << 20;  // that a client may leave unread before it is given up,
  std::size_t paced_bytes = 1 << 20;   // and before those who can wait wait for it
  std::size_t connections = 10000;
  std::chrono::seconds request{30};  // for a whole request to arrive, and for a piece to be taken
  std::chrono::seconds idle{75};     // between two requests of a connection
  std::chrono::seconds ping{5};      // without a piece of an answer
  // What a client may still send, and how long, after it was refused, so that it comes to read why.
  std::size_t linger_bytes = 64 << 20;
  std::chrono::seconds linger{5};
};

}  // namespace runnel::serve
