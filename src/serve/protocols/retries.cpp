#include "serve/protocols/retries.h"

#include <fmt/format.h>

#include "serve/protocols/json_body.h"

namespace runnel::serve {

bool is_retry(const Request& request) {
  const std::string count = request.header("x-stainless-retry-count");
  return !count.empty() && count != "0";
}

bool is_recent(const StoredResponse& row) {
  return row.status == "in_progress" || unix_seconds() - row.created <= kRetrySeconds;
}

std::string digest_of(const std::string& text) {
  std::uint64_t a = 14695981039346656037u;  // FNV-1a, twice with different beginnings
  std::uint64_t b = 0x9e3779b97f4a7c15u;
  for (const char byte : text) {
    a = (a ^ static_cast<unsigned char>(byte)) * 1099511628211u;
    b = (b ^ static_cast<unsigned char>(byte)) * 1099511628211u + (a >> 31);
  }
  return fmt::format("{:016x}{:016x}", a, b);
}

}  // namespace runnel::serve
