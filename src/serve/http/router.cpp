#include "serve/http/router.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <iterator>
#include <optional>

#include "base/utf8.h"
#include "serve/log.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// The parameters, if the path has the pattern's form.
std::optional<std::map<std::string, std::string>> match(std::string_view pattern,
                                                        std::string_view path) {
  const std::vector<std::string_view> wanted = parts_of(pattern);
  const std::vector<std::string_view> found = parts_of(path);
  if (wanted.size() != found.size()) return std::nullopt;
  std::map<std::string, std::string> parameters;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const std::string_view part = wanted[i];
    const bool is_parameter = part.size() > 2 && part.front() == '{';
    if (is_parameter && !found[i].empty()) {
      parameters[std::string(part.substr(1, part.size() - 2))] = std::string(found[i]);
    } else if (part != found[i]) {
      return std::nullopt;
    }
  }
  return parameters;
}

std::optional<std::string> decoded(std::string_view text, bool is_form) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += is_form && text[i] == '+' ? ' ' : text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 3 > text.size()) return std::nullopt;
    const char* const end = text.data() + i + 3;
    if (std::from_chars(text.data() + i + 1, end, value, 16).ptr != end) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

}  // namespace

bool split_target(std::string_view target, Request& request) {
  const std::size_t mark = std::min(target.find('?'), target.size());
  const std::optional<std::string> path = decoded(target.substr(0, mark), false);
  if (!path || path->empty() || path->front() != '/') return false;
  request.path = *path;
  std::string_view rest = target.substr(std::min(mark + 1, target.size()));
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const auto name = decoded(pair.substr(0, equals), true);
    const auto value = decoded(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value) return false;
    request.query[*name] = *value;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

void Router::add(std::vector<Route> routes) {
  std::move(routes.begin(), routes.end(), std::back_inserter(routes_));
}

const SocketRoute* Router::socket(std::string_view path) const {
  if (refusal_ != nullptr) return nullptr;
  for (const SocketRoute& route : sockets_) {
    if (route.path == path) return &route;
  }
  return nullptr;
}

bool Router::needs_key(const Request& request) const {
  return std::none_of(routes_.begin(), routes_.end(), [&](const Route& route) {
    return !route.needs_key && route.path == request.path;
  });
}

void Router::handle(Request& request, const ReplyPtr& reply) const {
  if (const char* const reason = refusal_; reason != nullptr && request.path != "/health") {
    return send_error(
        reply,
        {.status = 503, .code = "not_ready", .message = reason, .headers = {{"Retry-After", "1"}}});
  }
  if (!before_) return dispatch(request, reply);
  const auto kept = std::make_shared<Request>(std::move(request));
  before_(*kept, reply, [this, kept, reply] { dispatch(*kept, reply); });
}

void Router::dispatch(Request& request, const ReplyPtr& reply) const {
  std::string allowed;
  for (const Route& route : routes_) {
    auto parameters = match(route.path, request.path);
    if (!parameters) continue;
    if (route.method != request.method) {
      allowed += (allowed.empty() ? "" : ", ") + route.method;
      continue;
    }
    request.parameters = std::move(*parameters);
    answer_errors(reply, [&] { route.handler(request, reply); });
    return;
  }
  if (allowed.empty()) {
    send_error(reply, {.status = 404,
                       .code = "not_found",
                       .message = "no such path: " + request.method + " " + request.path});
  } else {
    send_error(reply, {.status = 405,
                       .code = "method_not_allowed",
                       .message = request.path + ": want " + allowed + ", found " + request.method,
                       .headers = {{"Allow", allowed}}});
  }
}

}  // namespace runnel::serve
