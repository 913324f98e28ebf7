#include "serve/page/page.h"

#include "serve/page/files.h"

namespace runnel::serve {
namespace {

// Nothing but what this server sends: no other host, no script or style inside a document, no frame
// around it.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

Reply::Headers headers() {
  return {{"Content-Security-Policy", kPolicy},
          {"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Cache-Control", "no-cache"}};
}

}  // namespace

std::vector<Route> page_routes() {
  std::vector<Route> routes;
  for (const PageFile& file : page_files()) {
    const auto send = [&file](const Request&, const ReplyPtr& reply) {
      reply->send(200, file.type, std::string(file.text), headers());
    };
    routes.push_back({"GET", file.path, send, false});
  }
  return routes;
}

}  // namespace runnel::serve
