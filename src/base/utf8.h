// UTF-8, by the table of well-formed byte sequences of the Unicode standard (section 3.9): no
// overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <string>
#include <string_view>

namespace runnel {

// Bytes (1 to 4) of the character that text begins with; 0 when it begins with none.
int utf8_length(std::string_view text);

// Bytes (0 to 3) at the end of text that begin a character whose rest may still come.
int utf8_unfinished_tail(std::string_view text);

// The character that text begins with. Precondition: utf8_length(text) > 0.
char32_t utf8_decode(std::string_view text);

void utf8_append(std::string& text, char32_t character);

}  // namespace runnel
