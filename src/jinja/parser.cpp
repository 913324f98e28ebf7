#include "jinja/parser.h"

#include <fmt/format.h>

#include "runnel/error.h"

namespace runnel::jinja {

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  if (++parser_.nesting_ > kLargestNesting) parser_.fail("nested too deeply");
}

Block Parser::run() {
  Block block = parse_block({});
  if (current().type != TokenType::kEnd) fail_at_tag();
  return block;
}

void Parser::fail(std::string_view what) const {
  throw Error(fmt::format("chat template, line {}: {}", current().line, what));
}

void Parser::fail_at_tag() const { fail(fmt::format("unexpected tag '{}'", following().text)); }

void Parser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) fail(fmt::format("want '{}', found {}", text, found()));
}

void Parser::expect(TokenType type, std::string_view name) {
  if (!is(type)) fail(fmt::format("want {}, found {}", name, found()));
  take();
}

std::string Parser::found() const {
  switch (current().type) {
    case TokenType::kEnd:
      return "the template's end";
    case TokenType::kBlockEnd:
    case TokenType::kOutputEnd:
      return "the tag's end";
    default:
      return fmt::format("'{}'", current().text.substr(0, 40));
  }
}

std::string Parser::expect_name() {
  if (!is(TokenType::kName)) fail(fmt::format("want a name, found {}", found()));
  return take().text;
}

// Up to a block that begins with one of `ends`, whose "{%" is the current token then.
Block Parser::parse_block(Words ends) {
  const Nested nested(*this);
  Block block;
  for (;;) {
    const int line = current().line;
    if (is(TokenType::kEnd)) return block;
    if (is(TokenType::kData)) {
      Value data = Value::text(take().text, Origin::kTemplate);
      block.push_back({.kind = Node::Kind::kData, .line = line, .data = std::move(data)});
    } else if (is(TokenType::kOutputBegin)) {
      take();
      Node node = {.kind = Node::Kind::kOutput, .line = line};
      node.expression = parse_tuple(true);
      expect(TokenType::kOutputEnd, "'}}'");
      block.push_back(std::move(node));
    } else {
      const std::string& word = following().text;
      if (std::find(ends.begin(), ends.end(), word) != ends.end()) return block;
      take();
      Node node = parse_statement();
      node.line = line;
      block.push_back(std::move(node));
    }
  }
}

Node Parser::parse_statement() {
  if (!is(TokenType::kName)) fail(fmt::format("want a statement, found {}", found()));
  if (is_word("if")) return parse_if();
  if (is_word("for")) return parse_for();
  if (is_word("set")) return parse_set();
  if (is_word("with")) return parse_with();
  if (is_word("macro")) return parse_macro();
  if (is_word("call")) return parse_call_block();
  if (is_word("filter")) return parse_filter_block();
  if (is_word("generation")) return parse_generation();
  if (is_word_of({"break", "continue"})) {
    Node node = {.kind = is_word("break") ? Node::Kind::kBreak : Node::Kind::kContinue};
    take();
    expect(TokenType::kBlockEnd, "'%}'");
    return node;
  }
  fail(fmt::format("statement '{}': not part of what chat templates use", current().text));
}

void Parser::end_block(std::string_view word) {
  expect(TokenType::kBlockBegin, fmt::format("'{{% {} %}}'", word));
  if (!skip_word(word)) fail(fmt::format("want '{}', found {}", word, found()));
}

// Behind a body: {% else %} with another one, or nothing; and the end.
Block Parser::parse_otherwise(std::string_view end_word) {
  Block otherwise;
  if (skip_word("else")) {
    expect(TokenType::kBlockEnd, "'%}'");
    otherwise = parse_block({end_word});
    end_block(end_word);
  } else if (!skip_word(end_word)) {
    fail(fmt::format("want '{}', found {}", end_word, found()));
  }
  expect(TokenType::kBlockEnd, "'%}'");
  return otherwise;
}

Node Parser::parse_if() {
  Node node = {.kind = Node::Kind::kIf};
  take();
  for (;;) {
    ExprPtr condition = parse_tuple(false);
    expect(TokenType::kBlockEnd, "'%}'");
    Block body = parse_block({"elif", "else", "endif"});
    node.branches.emplace_back(std::move(condition), std::move(body));
    expect(TokenType::kBlockBegin, "'{% endif %}'");
    if (!skip_word("elif")) break;
  }
  node.otherwise = parse_otherwise("endif");
  return node;
}

Node Parser::parse_for() {
  Node node = {.kind = Node::Kind::kFor};
  take();
  node.target = parse_target(false);
  if (!skip_word("in")) fail(fmt::format("want 'in', found {}", found()));
  node.expression = parse_tuple(false);
  if (skip_word("if")) node.filter = parse_expression();
  if (is_word("recursive")) fail("recursive loops: not part of what chat templates use");
  expect(TokenType::kBlockEnd, "'%}'");
  node.body = parse_block({"else", "endfor"});
  expect(TokenType::kBlockBegin, "'{% endfor %}'");
  node.otherwise = parse_otherwise("endfor");
  return node;
}

Node Parser::parse_set() {
  Node node = {.kind = Node::Kind::kSet};
  take();
  node.target = parse_target(true);
  if (skip_operator("=")) {
    node.expression = parse_tuple(true);
    expect(TokenType::kBlockEnd, "'%}'");
    return node;
  }
  node.kind = Node::Kind::kSetBlock;
  while (is_operator("|")) node.expression = parse_filter(std::move(node.expression));
  expect(TokenType::kBlockEnd, "'%}' or '='");
  node.body = parse_block({"endset"});
  end_block("endset");
  expect(TokenType::kBlockEnd, "'%}'");
  return node;
}

Node Parser::parse_with() {
  Node node = {.kind = Node::Kind::kWith};
  take();
  while (!is(TokenType::kBlockEnd)) {
    if (!node.otherwise.empty()) expect_operator(",");
    Node set = {.kind = Node::Kind::kSet, .line = current().line};
    set.target = parse_target(false);
    expect_operator("=");
    set.expression = parse_expression();
    node.otherwise.push_back(std::move(set));
  }
  take();
  node.body = parse_block({"endwith"});
  end_block("endwith");
  expect(TokenType::kBlockEnd, "'%}'");
  return node;
}

void Parser::parse_signature(Macro& macro) {
  expect_operator("(");
  while (!is_operator(")")) {
    if (!macro.parameters.empty()) expect_operator(",");
    macro.parameters.push_back(expect_name());
    if (skip_operator("=")) {
      macro.defaults.push_back(parse_expression());
    } else if (!macro.defaults.empty()) {
      fail("a parameter without a default behind one with a default");
    }
  }
  take();
}

Node Parser::parse_macro() {
  Node node = {.kind = Node::Kind::kMacro};
  take();
  node.macro = std::make_unique<Macro>();
  node.macro->name = expect_name();
  parse_signature(*node.macro);
  expect(TokenType::kBlockEnd, "'%}'");
  node.macro->body = parse_block({"endmacro"});
  end_block("endmacro");
  if (is(TokenType::kName)) take();
  expect(TokenType::kBlockEnd, "'%}'");
  return node;
}

Node Parser::parse_call_block() {
  Node node = {.kind = Node::Kind::kCallBlock};
  take();
  node.macro = std::make_unique<Macro>();
  node.macro->name = "caller";
  if (is_operator("(")) parse_signature(*node.macro);
  node.expression = parse_expression();
  if (node.expression->kind != Kind::kCall) fail("want the call of a macro");
  expect(TokenType::kBlockEnd, "'%}'");
  node.macro->body = parse_block({"endcall"});
  end_block("endcall");
  expect(TokenType::kBlockEnd, "'%}'");
  return node;
}

Node Parser::parse_filter_block() {
  Node node = {.kind = Node::Kind::kFilterBlock};
  const int line = take().line;
  ExprPtr filter = make(Kind::kFilter, parse_dotted_name(), line);
  filter->operands.push_back(nullptr);
  if (is_operator("(")) parse_arguments(*filter);
  while (is_operator("|")) filter = parse_filter(std::move(filter));
  node.expression = std::move(filter);
  expect(TokenType::kBlockEnd, "'%}'");
  node.body = parse_block({"endfilter"});
  end_block("endfilter");
  expect(TokenType::kBlockEnd, "'%}'");
  return node;
}

Node Parser::parse_generation() {
  Node node = {.kind = Node::Kind::kScope};
  take();
  expect(TokenType::kBlockEnd, "'%}'");
  node.body = parse_block({"endgeneration"});
  end_block("endgeneration");
  expect(TokenType::kBlockEnd, "'%}'");
  return node;
}

Block parse(std::string_view source) { return Parser(source).run(); }

}  // namespace runnel::jinja
