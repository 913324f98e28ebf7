// Numbers for people, with their units; and what the process itself takes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace runnel::cli {

std::string grouped(std::int64_t number);   // "1,234,567"
std::string bytes_text(std::size_t bytes);  // "7.5 MiB"
std::string seconds_text(double seconds);   // "12 ms", "3.4 s", "2 min 05 s", "1 h 02 min"
std::string rate_text(double per_second);   // "812 tokens/s", "3.25 tokens/s"

std::size_t peak_resident_bytes();  // the most so far

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace runnel::cli
