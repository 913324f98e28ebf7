#include <fmt/format.h>

#include <algorithm>

#include "jinja/interpreter.h"
#include "jinja/parser.h"
#include "runnel/error.h"

namespace runnel::jinja {

Template Template::parse(std::string_view source) {
  if (source.size() > kLargestTemplate) {
    throw Error(fmt::format("chat template: want at most {} bytes, found {}", kLargestTemplate,
                            source.size()));
  }
  return Template(jinja::parse(source));
}

Text Template::render(const Variables& variables, const Limits& limits,
                      std::optional<std::tm> now) const {
  return Interpreter(limits, now).run(body_, variables);
}

class Interpreter::Level {
 public:
  explicit Level(Interpreter& in) : in_(in) {
    if (++in_.depth_ > in_.limits_.depth) {
      --in_.depth_;
      in_.fail(fmt::format("want at most {} levels in each other", in_.limits_.depth));
    }
  }
  ~Level() { --in_.depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Interpreter& in_;
};

Text Interpreter::run(const Block& body, const Variables& variables) {
  Scope given;
  for (const auto& [name, value] : variables) given.names.emplace_back(name, value);
  Scope top = {.parent = &given, .names = {}};
  Text out;
  execute(body, top, out);
  return out;
}

void Interpreter::fail(std::string_view what) const {
  throw Error(fmt::format("chat template, line {}: {}", line_, what));
}

void Interpreter::charge(std::int64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.steps) fail(fmt::format("want at most {} steps", limits_.steps));
}

Value Interpreter::make_text(Text text) {
  if (text.size() > limits_.text_bytes) {
    fail(fmt::format("want texts of at most {} bytes", limits_.text_bytes));
  }
  charge(static_cast<std::int64_t>(text.size() / 16));
  return Value::of(std::move(text));
}

Scope& Interpreter::open_scope(Scope& parent) {
  if (free_scopes_.empty()) {
    scopes_.emplace_back();
    free_scopes_.push_back(&scopes_.back());
  }
  Scope& scope = *free_scopes_.back();
  free_scopes_.pop_back();
  scope.parent = &parent;
  return scope;
}

void Interpreter::close_scope(Scope& scope) {
  if (scope.is_kept) return;
  scope.names.clear();
  free_scopes_.push_back(&scope);
}

Interpreter::Flow Interpreter::execute(const Block& block, Scope& scope, Text& out) {
  const Level level(*this);
  for (const Node& node : block) {
    line_ = node.line;
    charge(1);
    const Flow flow = execute(node, scope, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Node& node, Scope& scope, Text& out) {
  switch (node.kind) {
    case Node::Kind::kData:
      emit(node.data, out);
      break;
    case Node::Kind::kOutput:
      emit(evaluate(*node.expression, scope), out);
      break;
    case Node::Kind::kIf:
      return execute_if(node, scope, out);
    case Node::Kind::kFor:
      return execute_for(node, scope, out);
    case Node::Kind::kSet:
      assign(*node.target, evaluate(*node.expression, scope), scope);
      break;
    case Node::Kind::kSetBlock:
      execute_set_block(node, scope);
      break;
    case Node::Kind::kWith:
      execute_with(node, scope, out);
      break;
    case Node::Kind::kMacro:
      execute_macro(node, scope);
      break;
    case Node::Kind::kCallBlock:
      execute_call_block(node, scope, out);
      break;
    case Node::Kind::kFilterBlock: {
      const Value text = make_text(execute_apart(node.body, scope));
      emit(evaluate_filter(*node.expression, &text, scope), out);
      break;
    }
    case Node::Kind::kScope:
      emit(make_text(execute_apart(node.body, scope)), out);
      break;
    case Node::Kind::kBreak:
    case Node::Kind::kContinue:
      if (loop_depth_ == 0) fail("break and continue stand in loops only");
      return node.kind == Node::Kind::kBreak ? Flow::kBreak : Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::emit(const Value& value, Text& out) {
  const auto add = [&](const Text& text) {
    charge(static_cast<std::int64_t>(text.size() / 16));
    if (out.size() + text.size() > limits_.text_bytes) {
      fail(fmt::format("want texts of at most {} bytes", limits_.text_bytes));
    }
    out.append(text);
  };
  if (const Text* text = value.as_text()) return add(*text);
  add(text_of(value));
}

Text Interpreter::execute_apart(const Block& block, Scope& scope) {
  Scope& inner = open_scope(scope);
  const int outer_loops = std::exchange(loop_depth_, 0);
  Text out;
  execute(block, inner, out);
  loop_depth_ = outer_loops;
  close_scope(inner);
  return out;
}

Interpreter::Flow Interpreter::execute_if(const Node& node, Scope& scope, Text& out) {
  for (const auto& [condition, body] : node.branches) {
    if (evaluate(*condition, scope).is_true()) return execute(body, scope, out);
  }
  return execute(node.otherwise, scope, out);
}

std::vector<Value> Interpreter::loop_items(const Node& node, Scope& scope) {
  std::vector<Value> items = items_of(evaluate(*node.expression, scope));
  if (node.filter == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    Scope& inner = open_scope(scope);
    assign(*node.target, item, inner);
    if (evaluate(*node.filter, inner).is_true()) kept.push_back(std::move(item));
    close_scope(inner);
  }
  return kept;
}

Interpreter::Flow Interpreter::execute_for(const Node& node, Scope& scope, Text& out) {
  charge(16);
  loops_.push_back({.items = loop_items(node, scope)});
  Loop& loop = loops_.back();
  if (loop.items.empty()) return execute(node.otherwise, scope, out);
  ++loop_depth_;
  for (; loop.index < loop.items.size(); ++loop.index) {
    charge(1);
    Scope& inner = open_scope(scope);
    inner.names.emplace_back("loop", Value::of(&loop));
    assign(*node.target, loop.items[loop.index], inner);
    const Flow flow = execute(node.body, inner, out);
    close_scope(inner);
    if (flow == Flow::kBreak) break;
  }
  --loop_depth_;
  std::vector<Value>().swap(loop.items);
  return Flow::kNext;
}

void Interpreter::execute_set_block(const Node& node, Scope& scope) {
  Value text = make_text(execute_apart(node.body, scope));
  if (node.expression != nullptr) text = evaluate_filter(*node.expression, &text, scope);
  assign(*node.target, std::move(text), scope);
}

void Interpreter::execute_with(const Node& node, Scope& scope, Text& out) {
  Scope& inner = open_scope(scope);
  for (const Node& set : node.otherwise) {
    assign(*set.target, evaluate(*set.expression, scope), inner);
  }
  execute(node.body, inner, out);
  close_scope(inner);
}

void Interpreter::execute_macro(const Node& node, Scope& scope) {
  charge(64);  // the scope is kept
  for (Scope* kept = &scope; kept != nullptr; kept = kept->parent) kept->is_kept = true;
  const Macro* macro = node.macro.get();
  Value value = Value::of(Function{.name = macro->name, .macro = macro, .scope = &scope});
  std::erase_if(scope.names, [&](const auto& entry) { return entry.first == macro->name; });
  scope.names.emplace_back(macro->name, std::move(value));
}

void Interpreter::execute_call_block(const Node& node, Scope& scope, Text& out) {
  charge(64);
  for (Scope* kept = &scope; kept != nullptr; kept = kept->parent) kept->is_kept = true;
  const Value callee = evaluate(*node.expression->operands[0], scope);
  Arguments arguments = arguments_of(*node.expression, scope);
  const Macro* macro = node.macro.get();
  arguments.named.emplace_back(
      "caller", Value::of(Function{.name = "caller", .macro = macro, .scope = &scope}));
  emit(call(callee, arguments), out);
}

void Interpreter::assign(const Expr& target, Value value, Scope& scope) {
  if (target.kind == Expr::Kind::kName) {
    for (auto& [name, held] : scope.names) {
      if (name == target.name) {
        held = std::move(value);
        return;
      }
    }
    scope.names.emplace_back(target.name, std::move(value));
  } else if (target.kind == Expr::Kind::kAttribute) {
    const Value object = evaluate(*target.operands[0], scope);
    Namespace* space = object.as_namespace();
    if (space == nullptr) fail("set of an attribute: want a namespace");
    for (auto& [name, held] : space->names) {
      if (name == target.name) {
        held = std::move(value);
        return;
      }
    }
    space->names.emplace_back(target.name, std::move(value));
  } else {
    const std::vector<Value> values = items_of(value);
    if (values.size() != target.operands.size()) {
      fail(
          fmt::format("want {} values to unpack, found {}", target.operands.size(), values.size()));
    }
    for (std::size_t i = 0; i < values.size(); ++i) assign(*target.operands[i], values[i], scope);
  }
}

Value Interpreter::call_macro(const Function& function, const Arguments& arguments) {
  const Level level(*this);
  const Macro& macro = *function.macro;
  if (arguments.positional.size() > macro.parameters.size()) {
    fail(fmt::format("macro {}: want at most {} arguments, found {}", macro.name,
                     macro.parameters.size(), arguments.positional.size()));
  }
  Scope& scope = open_scope(*function.scope);
  const int line = line_;
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const std::string& name = macro.parameters[i];
    const std::size_t n_plain = macro.parameters.size() - macro.defaults.size();
    const Value* given = arguments.find(i, name);
    Value value = given != nullptr ? *given
                  : i >= n_plain   ? evaluate(*macro.defaults[i - n_plain], scope)
                                   : Value::undefined("'" + name + "'");
    scope.names.emplace_back(name, std::move(value));
  }
  for (const auto& [name, value] : arguments.named) {
    const auto& known = macro.parameters;
    if (name == "caller")
      scope.names.emplace_back("caller", value);
    else if (std::find(known.begin(), known.end(), name) == known.end())
      fail(fmt::format("macro {}: no parameter '{}'", macro.name, name));
  }
  const int outer_loops = std::exchange(loop_depth_, 0);
  Text out;
  execute(macro.body, scope, out);
  loop_depth_ = outer_loops;
  line_ = line;
  close_scope(scope);
  return make_text(std::move(out));
}

}  // namespace runnel::jinja
