// Recursive descent, one function for each level of Jinja's grammar: statements in parser.cpp,
// expressions in expression_parser.cpp.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/lexer.h"
#include "jinja/syntax.h"

namespace runnel::jinja {

// Error: what is no template, or uses what chat templates do not (include, extends, block, ...);
// with the line.
Block parse(std::string_view source);

class Parser {
 public:
  using Kind = Expr::Kind;
  using Words = std::initializer_list<std::string_view>;

  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Block run();

  static constexpr int kLargestNesting = 150;  // of statements and expressions in each other

 private:
  // Counts how deep the parser is in itself.
  class Nested {
   public:
    explicit Nested(Parser& parser);
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  [[noreturn]] void fail(std::string_view what) const;
  [[noreturn]] void fail_at_tag() const;

  const Lexeme& current() const { return tokens_[at_]; }
  const Lexeme& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Lexeme& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is(TokenType type) const { return current().type == type; }
  bool is_operator(std::string_view text) const {
    return is(TokenType::kOperator) && current().text == text;
  }
  bool is_word(std::string_view text) const {
    return is(TokenType::kName) && current().text == text;
  }
  bool is_word_of(Words words) const {
    return std::any_of(words.begin(), words.end(), [this](auto word) { return is_word(word); });
  }
  bool skip_operator(std::string_view text) { return is_operator(text) && (take(), true); }
  bool skip_word(std::string_view text) { return is_word(text) && (take(), true); }
  void expect_operator(std::string_view text);
  void expect(TokenType type, std::string_view name);
  std::string found() const;  // the current token, for messages
  std::string expect_name();
  ExprPtr make(Kind kind, int line) const {
    return std::make_unique<Expr>(Expr{.kind = kind, .line = line});
  }
  template <typename... Operands>
  ExprPtr make(Kind kind, std::string name, int line, Operands... operands) const {
    ExprPtr made = make(kind, line);
    made->name = std::move(name);
    (made->operands.push_back(std::move(operands)), ...);
    return made;
  }
  ExprPtr constant(Value value, int line) const {
    ExprPtr made = make(Kind::kConstant, line);
    made->constant = std::move(value);
    return made;
  }

  Block parse_block(Words ends);
  Node parse_statement();
  Node parse_if();
  Node parse_for();
  Node parse_set();
  Node parse_with();
  Node parse_macro();
  Node parse_call_block();
  Node parse_filter_block();
  Node parse_generation();
  void end_block(std::string_view word);
  Block parse_otherwise(std::string_view end_word);
  void parse_signature(Macro& macro);

  ExprPtr parse_target(bool may_be_attribute);
  ExprPtr parse_single_target(bool may_be_attribute);
  ExprPtr parse_tuple(bool has_conditional);
  bool is_tuple_end() const;
  ExprPtr parse_expression();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concatenation();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool has_filter);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_number();
  ExprPtr parse_string();
  ExprPtr parse_parentheses();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_filters(ExprPtr node);
  ExprPtr parse_filter(ExprPtr node);
  ExprPtr parse_test(ExprPtr node);
  std::string parse_dotted_name();
  void parse_arguments(Expr& call);

  std::vector<Lexeme> tokens_;
  std::size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace runnel::jinja
