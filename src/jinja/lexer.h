// A template's source as tokens: the text between the tags, and what stands in them. Whitespace is
// treated as in transformers' environment: trim_blocks, lstrip_blocks, and no newline at the end.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace runnel::jinja {

enum class TokenType {
  kData,
  kBlockBegin,  // {%
  kBlockEnd,
  kOutputBegin,  // {{
  kOutputEnd,
  kName,
  kString,
  kInt,
  kFloat,
  kOperator,
  kEnd,
};

struct Lexeme {
  TokenType type;
  std::string text;  // strings without quotes and escapes
  int line;
};

// Error: an unfinished tag or string, an unexpected character; with the line.
std::vector<Lexeme> tokenize(std::string_view source);

}  // namespace runnel::jinja
