// Which handler a request goes to.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "serve/protocols/exchange.h"

namespace runnel::serve {

class Router {
 public:
  void add(std::vector<Route> routes);
  void add(SocketRoute route) { sockets_.push_back(std::move(route)); }

  // Calls the handler, with the route's parameters in the request; where there is none, or it
  // throws, replies itself.
  void handle(Request& request, const ReplyPtr& reply) const;
  const SocketRoute* socket(std::string_view path) const;
  bool needs_key(const Request& request) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
  std::vector<SocketRoute> sockets_;
};

// "/a%20b?c=d" into path and query. False: not a path that can be decoded.
bool split_target(std::string_view target, Request& request);

}  // namespace runnel::serve
