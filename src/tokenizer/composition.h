// Unicode normalisation form C: what is written with combining marks, in the characters that are
// made for it. Tokenizers of some models declare it.
#pragma once

#include <string>
#include <string_view>

namespace runnel {

// False when text is certainly in this form already: most text is, and this is cheap.
bool may_need_composition(std::string_view text);

// The text in normalisation form C; bytes that are not UTF-8 stay as they are.
std::string composed(std::string_view text);

}  // namespace runnel
