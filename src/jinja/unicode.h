// Text as code points, the way Python counts it. A byte that belongs to no character counts as one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::jinja {

struct CodePoint {
  char32_t value;
  std::size_t length;  // bytes; at least 1
};
CodePoint code_point_at(std::string_view text, std::size_t at);
std::size_t count_code_points(std::string_view text);
// Where each code point begins, and the end.
std::vector<std::size_t> code_point_starts(std::string_view text);

bool is_space(char32_t c);        // str.isspace()
bool is_unprintable(char32_t c);  // what repr() escapes: controls, formats, surrogates, private use
bool is_line_end(char32_t c);     // str.splitlines()

// Upper and lower case of ASCII; other letters stay.
std::string ascii_upper(std::string_view text);
std::string ascii_lower(std::string_view text);

// [begin, end) without space at the two ends, by str.strip().
struct Range {
  std::size_t begin, end;
};
Range stripped(std::string_view text, bool left, bool right);

}  // namespace runnel::jinja
