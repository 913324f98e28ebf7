#include "tokenizer/composition.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/utf8.h"

namespace runnel {
namespace {

struct Free {
  void operator()(utf8proc_uint8_t* text) const { std::free(text); }
};

// Bytes at the start of text that are all valid UTF-8.
std::size_t valid_length(std::string_view text) {
  std::size_t end = 0;
  while (const int length = utf8_length(text.substr(end))) end += static_cast<std::size_t>(length);
  return end;
}

void append_composed(std::string& out, std::string_view valid) {
  utf8proc_uint8_t* result = nullptr;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const utf8proc_ssize_t n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                   static_cast<utf8proc_ssize_t>(valid.size()), &result, options);
  const std::unique_ptr<utf8proc_uint8_t, Free> owner(result);
  if (n < 0) throw std::bad_alloc();  // the bytes are valid, so nothing else is left
  out.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(n));
}

}  // namespace

// Every character below U+0300 (lead bytes below 0xCC) is composed as it stands, and does not join
// the one before it.
bool may_need_composition(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0xCC; });
}

std::string composed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t n = valid_length(text);
    if (n > 0) append_composed(out, text.substr(0, n));
    if (n < text.size()) out += text[n];
    text.remove_prefix(std::min(text.size(), n + 1));
  }
  return out;
}

}  // namespace runnel
