// HTTP/1.1 on a few threads: connections, limits, and the pieces of answers as they come.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "serve/http/limits.h"
#include "serve/http/router.h"

namespace runnel::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any that is free
  int threads = 2;
  std::vector<std::string> keys;
  std::string certificate_file;  // both given: TLS
  std::string key_file;
  bool logs_requests = false;  // a line each
  HttpLimits limits;
};

class HttpServer {
 public:
  struct Counters {
    std::uint64_t connections = 0, open = 0, requests = 0, refused = 0;
  };

  // Binds and listens. Routers must outlive the server. Error: the address is taken, or a file of
  // TLS is no good.
  HttpServer(const HttpOptions& options, const Router& router);
  ~HttpServer();

  void use(const Router& router);  // from the next request on
  void start();                    // its threads
  void stop_listening();           // what is open goes on
  void stop();                     // ends everything
  std::uint16_t port() const;
  Counters counters() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel::serve
