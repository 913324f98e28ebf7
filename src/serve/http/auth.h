// API keys: where there are some, a request has to bring one.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/protocols/exchange.h"

namespace runnel::serve {

class Keys {
 public:
  explicit Keys(std::vector<std::string> keys) : keys_(std::move(keys)) {}

  // "Authorization: Bearer KEY" or "X-Api-Key: KEY". Comparing takes the same time for any two keys
  // of one length, so that a key cannot be found out byte by byte.
  bool admit(const Request& request) const {
    if (keys_.empty()) return true;
    std::string given = request.header("authorization");
    constexpr std::string_view kBearer = "Bearer ";
    given = given.starts_with(kBearer) ? given.substr(kBearer.size()) : request.header("x-api-key");
    bool is_known = false;
    for (const std::string& key : keys_) is_known |= equal(key, given);
    return is_known;
  }

 private:
  static bool equal(std::string_view a, std::string_view b) {
    unsigned difference = a.size() == b.size() ? 0 : 1;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const char other = i < b.size() ? b[i] : '\0';
      difference |= static_cast<unsigned char>(a[i] ^ other);
    }
    return difference == 0;
  }

  std::vector<std::string> keys_;
};

}  // namespace runnel::serve
