#include <fmt/format.h>

#include <charconv>

#include "jinja/parser.h"

namespace runnel::jinja {

ExprPtr Parser::parse_single_target(bool may_be_attribute) {
  const Nested nested(*this);
  const int line = current().line;
  if (skip_operator("(")) {
    ExprPtr inner = parse_target(may_be_attribute);
    expect_operator(")");
    return inner;
  }
  ExprPtr name = make(Kind::kName, expect_name(), line);
  if (!may_be_attribute || !skip_operator(".")) return name;
  return make(Kind::kAttribute, expect_name(), line, std::move(name));
}

ExprPtr Parser::parse_target(bool may_be_attribute) {
  const int line = current().line;
  ExprPtr first = parse_single_target(may_be_attribute);
  if (!is_operator(",")) return first;
  ExprPtr tuple = make(Kind::kTuple, "", line, std::move(first));
  while (skip_operator(",") && (is(TokenType::kName) || is_operator("("))) {
    if (is_word("in")) break;
    tuple->operands.push_back(parse_single_target(may_be_attribute));
  }
  return tuple;
}

bool Parser::is_tuple_end() const {
  return is(TokenType::kBlockEnd) || is(TokenType::kOutputEnd) || is_operator(")") ||
         is(TokenType::kEnd);
}

ExprPtr Parser::parse_tuple(bool has_conditional) {
  const auto parse = [&] { return has_conditional ? parse_expression() : parse_or(); };
  const int line = current().line;
  ExprPtr first = parse();
  if (!is_operator(",")) return first;
  ExprPtr tuple = make(Kind::kTuple, "", line, std::move(first));
  while (skip_operator(",") && !is_tuple_end()) tuple->operands.push_back(parse());
  return tuple;
}

ExprPtr Parser::parse_expression() {
  const Nested nested(*this);
  const int line = current().line;
  ExprPtr value = parse_or();
  while (skip_word("if")) {
    ExprPtr condition = parse_or();
    ExprPtr otherwise = skip_word("else") ? parse_expression() : nullptr;
    value = make(Kind::kConditional, "", line, std::move(value), std::move(condition),
                 std::move(otherwise));
  }
  return value;
}

ExprPtr Parser::parse_or() {
  const int line = current().line;
  ExprPtr left = parse_and();
  if (!is_word("or")) return left;
  ExprPtr all = make(Kind::kOr, "", line, std::move(left));
  while (skip_word("or")) all->operands.push_back(parse_and());
  return all;
}

ExprPtr Parser::parse_and() {
  const int line = current().line;
  ExprPtr left = parse_not();
  if (!is_word("and")) return left;
  ExprPtr all = make(Kind::kAnd, "", line, std::move(left));
  while (skip_word("and")) all->operands.push_back(parse_not());
  return all;
}

ExprPtr Parser::parse_not() {
  const Nested nested(*this);
  const int line = current().line;
  if (skip_word("not")) return make(Kind::kNot, "", line, parse_not());
  return parse_compare();
}

ExprPtr Parser::parse_compare() {
  ExprPtr all = make(Kind::kCompare, current().line);
  all->operands.push_back(parse_sum());
  for (;;) {
    std::string op;
    for (const std::string_view known : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (is_operator(known)) op = known;
    }
    if (is_word("in")) op = "in";
    if (is_word("not") && following().type == TokenType::kName && following().text == "in") {
      take();
      op = "not in";
    }
    if (op.empty()) break;
    take();
    all->operators.push_back(op);
    all->operands.push_back(parse_sum());
  }
  return all->operators.empty() ? std::move(all->operands[0]) : std::move(all);
}

// Chains of one level become one node behind the other; each makes the tree deeper.
ExprPtr Parser::parse_sum() {
  ExprPtr left = parse_concatenation();
  int n_links = 0;
  while (is_operator("+") || is_operator("-")) {
    if (++n_links > kLargestNesting) fail("a sum of too many terms");
    const int line = current().line;
    std::string op = take().text;
    left = make(Kind::kBinary, std::move(op), line, std::move(left), parse_concatenation());
  }
  return left;
}

ExprPtr Parser::parse_concatenation() {
  const int line = current().line;
  ExprPtr left = parse_product();
  if (!is_operator("~")) return left;
  ExprPtr all = make(Kind::kBinary, "~", line, std::move(left));
  while (skip_operator("~")) all->operands.push_back(parse_product());
  return all;
}

ExprPtr Parser::parse_product() {
  ExprPtr left = parse_power();
  int n_links = 0;
  while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
    if (++n_links > kLargestNesting) fail("a product of too many factors");
    const int line = current().line;
    std::string op = take().text;
    left = make(Kind::kBinary, std::move(op), line, std::move(left), parse_power());
  }
  return left;
}

ExprPtr Parser::parse_power() {
  ExprPtr left = parse_unary(true);
  int n_links = 0;
  while (is_operator("**")) {
    if (++n_links > kLargestNesting) fail("too many powers");
    const int line = take().line;
    left = make(Kind::kBinary, "**", line, std::move(left), parse_unary(true));
  }
  return left;
}

ExprPtr Parser::parse_unary(bool has_filter) {
  const Nested nested(*this);
  const int line = current().line;
  ExprPtr node;
  if (is_operator("-") || is_operator("+")) {
    std::string op = take().text;
    node = make(Kind::kUnary, std::move(op), line, parse_unary(false));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return has_filter ? parse_filters(std::move(node)) : std::move(node);
}

ExprPtr Parser::parse_primary() {
  switch (current().type) {
    case TokenType::kName:
      return parse_name();
    case TokenType::kString:
      return parse_string();
    case TokenType::kInt:
    case TokenType::kFloat:
      return parse_number();
    default:
      if (is_operator("(")) return parse_parentheses();
      if (is_operator("[")) return parse_list();
      if (is_operator("{")) return parse_dict();
      fail(fmt::format("want a value, found {}", found()));
  }
}

ExprPtr Parser::parse_name() {
  const int line = current().line;
  std::string name = take().text;
  if (name == "true" || name == "True") return constant(Value::of(true), line);
  if (name == "false" || name == "False") return constant(Value::of(false), line);
  if (name == "none" || name == "None") return constant(Value::none(), line);
  return make(Kind::kName, std::move(name), line);
}

ExprPtr Parser::parse_number() {
  const Lexeme& token = take();
  const char* last = token.text.data() + token.text.size();
  if (token.type == TokenType::kFloat) {
    double number = 0;
    std::from_chars(token.text.data(), last, number);
    return constant(Value::of(number), token.line);
  }
  std::int64_t number = 0;
  if (std::from_chars(token.text.data(), last, number).ec != std::errc())
    fail(fmt::format("number {}: want less than 2^63", token.text));
  return constant(Value::of(number), token.line);
}

ExprPtr Parser::parse_string() {
  const int line = current().line;
  std::string text;
  while (is(TokenType::kString)) text += take().text;
  return constant(Value::text(std::move(text), Origin::kTemplate), line);
}

ExprPtr Parser::parse_parentheses() {
  const int line = take().line;
  if (skip_operator(")")) return make(Kind::kTuple, line);
  ExprPtr inner = parse_tuple(true);
  expect_operator(")");
  return inner;
}

ExprPtr Parser::parse_list() {
  ExprPtr list = make(Kind::kList, take().line);
  while (!is_operator("]")) {
    if (!list->operands.empty()) expect_operator(",");
    if (is_operator("]")) break;
    list->operands.push_back(parse_expression());
  }
  take();
  return list;
}

ExprPtr Parser::parse_dict() {
  ExprPtr dict = make(Kind::kDict, take().line);
  while (!is_operator("}")) {
    if (!dict->operands.empty()) expect_operator(",");
    if (is_operator("}")) break;
    dict->operands.push_back(parse_expression());
    expect_operator(":");
    dict->operands.push_back(parse_expression());
  }
  take();
  return dict;
}

ExprPtr Parser::parse_postfix(ExprPtr node) {
  for (int n_links = 0;; ++n_links) {
    if (n_links > kLargestNesting) fail("too many attributes and calls in a row");
    if (is_operator(".") || is_operator("[")) {
      node = parse_subscript(std::move(node));
    } else if (is_operator("(")) {
      node = make(Kind::kCall, "", current().line, std::move(node));
      parse_arguments(*node);
    } else {
      return node;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr node) {
  const int line = current().line;
  if (skip_operator(".")) {
    if (is(TokenType::kInt)) return make(Kind::kItem, "", line, std::move(node), parse_number());
    return make(Kind::kAttribute, expect_name(), line, std::move(node));
  }
  take();
  ExprPtr start = is_operator(":") ? nullptr : parse_expression();
  if (skip_operator("]")) return make(Kind::kItem, "", line, std::move(node), std::move(start));
  expect_operator(":");
  const auto is_part = [&] { return !is_operator(":") && !is_operator("]"); };
  ExprPtr stop = is_part() ? parse_expression() : nullptr;
  ExprPtr step;
  if (skip_operator(":") && is_part()) step = parse_expression();
  expect_operator("]");
  return make(Kind::kSlice, "", line, std::move(node), std::move(start), std::move(stop),
              std::move(step));
}

ExprPtr Parser::parse_filters(ExprPtr node) {
  for (int n_links = 0;; ++n_links) {
    if (n_links > kLargestNesting) fail("too many filters in a row");
    if (is_operator("|")) {
      node = parse_filter(std::move(node));
    } else if (is_word("is")) {
      node = parse_test(std::move(node));
    } else if (is_operator("(")) {
      node = make(Kind::kCall, "", current().line, std::move(node));
      parse_arguments(*node);
    } else {
      return node;
    }
  }
}

std::string Parser::parse_dotted_name() {
  std::string name = expect_name();
  while (skip_operator(".")) name.append(1, '.').append(expect_name());
  return name;
}

ExprPtr Parser::parse_filter(ExprPtr node) {
  const int line = take().line;
  ExprPtr filter = make(Kind::kFilter, parse_dotted_name(), line, std::move(node));
  if (is_operator("(")) parse_arguments(*filter);
  return filter;
}

ExprPtr Parser::parse_test(ExprPtr node) {
  const int line = take().line;
  const bool is_negated = skip_word("not");
  ExprPtr test = make(Kind::kTest, parse_dotted_name(), line, std::move(node));
  if (is_word("is")) fail("a test of a test");
  const bool begins_value = is(TokenType::kName) || is(TokenType::kString) || is(TokenType::kInt) ||
                            is(TokenType::kFloat) || is_operator("[") || is_operator("{");
  if (is_operator("(")) {
    parse_arguments(*test);
  } else if (begins_value && !is_word_of({"else", "or", "and", "if", "in", "is", "not"})) {
    test->operands.push_back(parse_postfix(parse_primary()));
  }
  return is_negated ? make(Kind::kNot, "", line, std::move(test)) : std::move(test);
}

void Parser::parse_arguments(Expr& call) {
  const Nested nested(*this);
  take();
  for (bool is_first = true; !is_operator(")"); is_first = false) {
    if (!is_first) expect_operator(",");
    if (is_operator(")")) break;
    if (is_operator("*") || is_operator("**")) {
      fail("arguments with '*': not part of what chat templates use");
    }
    const bool is_named =
        is(TokenType::kName) && following().type == TokenType::kOperator && following().text == "=";
    if (is_named) {
      std::string name = take().text;
      take();
      call.named.emplace_back(std::move(name), parse_expression());
    } else {
      if (!call.named.empty()) fail("a plain argument behind a named one");
      call.operands.push_back(parse_expression());
    }
  }
  take();
}

}  // namespace runnel::jinja
