// Random texts from a fixed seed, for comparisons of tokenizers with themselves and with plain
// reference code.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "base/utf8.h"

namespace runnel::test {

// One of the letters of an alphabet, `length` times.
inline std::string random_letters(std::mt19937& random, const std::vector<std::string>& alphabet,
                                  int length) {
  std::string text;
  for (int i = 0; i < length; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

// Valid UTF-8: mostly ASCII and white space, with characters from all of Unicode.
inline std::string random_utf8(std::mt19937& random, int length) {
  std::string text;
  for (int i = 0; i < length; ++i) {
    const unsigned kind = random() % 8;
    char32_t character = U' ' + random() % 95;
    if (kind == 0) character = U"\n\t\r \u00A0\u2581\u3000 "[random() % 8];
    if (kind == 1) character = random() % 0x800;
    if (kind == 2) character = random() % 0x110000;
    if (character >= 0xD800 && character < 0xE000) character = U'x';
    utf8_append(text, character);
  }
  return text;
}

inline std::string random_bytes(std::mt19937& random, int length) {
  std::string text;
  for (int i = 0; i < length; ++i) text.push_back(static_cast<char>(random()));
  return text;
}

}  // namespace runnel::test
