// Lines for whoever runs the server, on standard error: as text, or each as a JSON object.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace runnel::serve {

enum class LogFormat { kText, kJson };

// Of the process; set once, before threads write.
void set_log_format(LogFormat format);
void log_info(std::string_view text);
void log_warning(std::string_view text);

// A request that was answered; nothing of what it said.
struct RequestLine {
  std::string client;  // its address
  std::string method, path;
  int status = 0;  // 0: the client left before there was an answer
  std::size_t n_bytes = 0;
  std::chrono::steady_clock::duration took{};
  bool is_cut = false;  // not all of the answer was sent
};
void log_request(const RequestLine& line);

}  // namespace runnel::serve
