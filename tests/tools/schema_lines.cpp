// For the test of schemas: each line of standard input is {"schema": ..., "seed": n, "count": n};
// the answer is {"texts": [...]}, random texts that the constraint allows (null: none came to its
// end), or {"error": ...}. The vocabulary is the 256 bytes and some longer pieces.
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "grammar/constraint.h"
#include "grammar/json_schema.h"
#include "runnel/error.h"

namespace {

using Json = nlohmann::ordered_json;
using runnel::Token;

constexpr Token kEnd = 0;

std::vector<std::string> vocabulary() {
  std::vector<std::string> texts = {""};
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  for (const char* piece : {"\",",   "\":",  "{\"", "\"}",  "true",     "false", "null", "12",
                            "00",    " \"",  "é",   "日本", "\xE6\x97", "\xA5",  "}}",   "]}",
                            "\\u00", "\\\"", "ab",  "city", ", ",       ": ",    "\n  "})
    texts.emplace_back(piece);
  return texts;
}

bool has(std::span<const std::uint64_t> mask, Token token) {
  return (mask[static_cast<std::size_t>(token) / 64] >> (token % 64) & 1) != 0;
}

// A random walk that soon takes to closing things.
Json walk(runnel::TokenConstraint& constraint, const std::vector<std::string>& texts,
          std::mt19937& random) {
  std::string text;
  for (int step = 0; step < 600; ++step) {
    const std::span<const std::uint64_t> mask = constraint.allowed();
    std::vector<Token> all, closing;
    for (Token t = 0; t < static_cast<Token>(texts.size()); ++t) {
      if (!has(mask, t)) continue;
      all.push_back(t);
      const std::string& piece = texts[static_cast<std::size_t>(t)];
      if (t == kEnd || piece == "\"" || piece == "}" || piece == "]") closing.push_back(t);
    }
    if (all.empty()) return nullptr;
    const bool closes = !closing.empty() && random() % 100 < (step < 60 ? 35u : 95u);
    const std::vector<Token>& from = closes ? closing : all;
    const Token token = from[random() % from.size()];
    constraint.accept(token);
    if (token == kEnd) return text;
    text += texts[static_cast<std::size_t>(token)];
  }
  return nullptr;
}

Json answer(const Json& line, const std::vector<std::string>& texts,
            const runnel::TokenOrder& tokens) {
  try {
    auto grammar = std::make_shared<runnel::Grammar>();
    grammar->set_start(runnel::json_schema_rule(*grammar, line.at("schema").dump()));
    std::mt19937 random(line.at("seed").get<unsigned>());
    Json found = Json::array();
    for (int i = 0; i < line.at("count").get<int>(); ++i) {
      runnel::GrammarConstraint constraint(grammar, tokens);
      found.push_back(walk(constraint, texts, random));
    }
    return {{"texts", found}};
  } catch (const runnel::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  const std::vector<std::string> texts = vocabulary();
  const runnel::TokenOrder tokens(texts, {kEnd});
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(Json::parse(line), texts, tokens).dump() << "\n";
  }
}
