#include "base/utf8.h"

#include <algorithm>

namespace runnel {
namespace {

unsigned byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

// Bytes in a character with this first byte; 0 for a byte that cannot be the first.
int length_by_lead(unsigned lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// The second byte's range depends on the first: here overlong forms and surrogates are excluded.
bool second_fits(unsigned lead, unsigned second) {
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return low <= second && second <= high;
}

bool is_continuation(unsigned byte) { return (byte & 0xC0) == 0x80; }

// Whether the first `count` bytes of text are right for a character that begins there.
bool continues_well(std::string_view text, std::size_t count) {
  if (count > 1 && !second_fits(byte_at(text, 0), byte_at(text, 1))) return false;
  for (std::size_t i = 2; i < count; ++i) {
    if (!is_continuation(byte_at(text, i))) return false;
  }
  return true;
}

}  // namespace

int utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const int length = length_by_lead(byte_at(text, 0));
  const auto count = static_cast<std::size_t>(length);
  return count <= text.size() && continues_well(text, count) ? length : 0;
}

int utf8_unfinished_tail(std::string_view text) {
  const std::size_t longest = std::min<std::size_t>(3, text.size());
  for (std::size_t tail = 1; tail <= longest; ++tail) {
    const std::string_view end = text.substr(text.size() - tail);
    if (is_continuation(byte_at(end, 0))) continue;
    const auto wanted = static_cast<std::size_t>(length_by_lead(byte_at(end, 0)));
    return wanted > tail && continues_well(end, tail) ? static_cast<int>(tail) : 0;
  }
  return 0;
}

char32_t utf8_decode(std::string_view text) {
  const unsigned lead = byte_at(text, 0);
  const int length = length_by_lead(lead);
  if (length <= 1) return lead;
  char32_t character = lead & (0x7Fu >> length);
  for (int i = 1; i < length; ++i) {
    character = character << 6 | (byte_at(text, static_cast<std::size_t>(i)) & 0x3F);
  }
  return character;
}

void utf8_append(std::string& text, char32_t character) {
  const auto push = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto push_rest = [&](int bits) {
    for (; bits >= 0; bits -= 6) push(0x80 | (character >> bits & 0x3F));
  };
  if (character < 0x80) {
    push(character);
  } else if (character < 0x800) {
    push(0xC0 | character >> 6);
    push_rest(0);
  } else if (character < 0x10000) {
    push(0xE0 | character >> 12);
    push_rest(6);
  } else {
    push(0xF0 | character >> 18);
    push_rest(12);
  }
}

}  // namespace runnel
