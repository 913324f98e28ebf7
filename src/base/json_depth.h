// How deep JSON lies in itself, before it is read: what copies or writes it out calls itself for
// each level, and a small file can have more of them than a thread's stack.
#pragma once

#include <cstddef>
#include <string_view>

namespace runnel {

inline constexpr int kDeepestJson = 512;

// Whether more than `most` lists and objects lie in each other.
inline bool is_nested_deeper(std::string_view json, int most = kDeepestJson) {
  int depth = 0;
  bool is_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (is_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      is_string = !is_string;
    } else if (!is_string && (c == '{' || c == '[')) {
      if (++depth > most) return true;
    } else if (!is_string && (c == '}' || c == ']')) {
      --depth;
    }
  }
  return false;
}

}  // namespace runnel
