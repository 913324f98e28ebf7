#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "jinja/interpreter.h"
#include "jinja/unicode.h"
#include "runnel/error.h"

namespace runnel::jinja {
namespace {

std::string described(const Value& undefined) {
  const auto& name = undefined.as_undefined()->name;
  return name == nullptr ? std::string("the value") : *name;
}

Value loop_attribute(const Loop& loop, std::string_view name) {
  const auto n = static_cast<std::int64_t>(loop.items.size());
  const auto i = static_cast<std::int64_t>(loop.index);
  if (name == "index") return Value::of(i + 1);
  if (name == "index0") return Value::of(i);
  if (name == "revindex") return Value::of(n - i);
  if (name == "revindex0") return Value::of(n - i - 1);
  if (name == "first") return Value::of(i == 0);
  if (name == "last") return Value::of(i + 1 >= n);
  if (name == "length") return Value::of(n);
  if (name == "depth") return Value::of(std::int64_t{1});  // there are no recursive loops
  if (name == "depth0") return Value::of(std::int64_t{0});
  if (name == "previtem") {
    return i > 0 && i <= n ? loop.items[loop.index - 1]
                           : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return i + 1 < n ? loop.items[loop.index + 1] : Value::undefined("there is no next item");
  }
  return Value::undefined(fmt::format("'loop.{}'", name));
}

Value cycle(Interpreter& in, const Value& receiver, const Arguments& arguments) {
  if (arguments.positional.empty()) in.fail("loop.cycle: want values");
  return arguments.positional[receiver.as_loop()->index % arguments.positional.size()];
}

Value changed(Interpreter& in, const Value& receiver, const Arguments& arguments) {
  Value now = Value::tuple(arguments.positional);
  Loop& loop = *receiver.as_loop();
  const bool is_changed = !in.are_equal(loop.last_changed, now);
  loop.last_changed = std::move(now);
  return Value::of(is_changed);
}

}  // namespace

Value Interpreter::evaluate(const Expr& expr, Scope& scope) {
  charge(1);
  if (expr.kind == Expr::Kind::kConstant) return expr.constant;
  if (expr.kind == Expr::Kind::kName) return look_up(expr.name, scope);
  if (++depth_ > limits_.depth) {
    fail(fmt::format("want at most {} levels in each other", limits_.depth));
  }
  line_ = expr.line;
  Value value = evaluate_plain(expr, scope);
  --depth_;
  return value;
}

Value Interpreter::evaluate_plain(const Expr& expr, Scope& scope) {
  using Kind = Expr::Kind;
  const auto& operands = expr.operands;
  switch (expr.kind) {
    case Kind::kConstant:
      return expr.constant;
    case Kind::kName:
      return look_up(expr.name, scope);
    case Kind::kTuple:
      return Value::tuple(evaluate_all(expr, scope));
    case Kind::kList:
      return Value::list(evaluate_all(expr, scope));
    case Kind::kDict: {
      const std::vector<Value> all = evaluate_all(expr, scope);
      std::vector<std::pair<Value, Value>> entries;
      for (std::size_t i = 0; i + 1 < all.size(); i += 2) {
        if (all[i].is_list() || all[i].is_dict()) fail("a key of an object: want a plain value");
        entries.emplace_back(all[i], all[i + 1]);
      }
      return Value::dict(std::move(entries));
    }
    case Kind::kUnary:
    case Kind::kBinary:
      return evaluate_binary(expr, scope);
    case Kind::kAnd:
    case Kind::kOr: {
      Value value = evaluate(*operands[0], scope);
      for (std::size_t i = 1; i < operands.size(); ++i) {
        if (value.is_true() == (expr.kind == Kind::kOr)) break;
        value = evaluate(*operands[i], scope);
      }
      return value;
    }
    case Kind::kNot:
      return Value::of(!evaluate(*operands[0], scope).is_true());
    case Kind::kCompare:
      return evaluate_compare(expr, scope);
    case Kind::kConditional:
      return evaluate_conditional(expr, scope);
    case Kind::kAttribute:
      return attribute(evaluate(*operands[0], scope), expr.name);
    case Kind::kItem: {
      const Value object = evaluate(*operands[0], scope);
      return item(object, evaluate(*operands[1], scope));
    }
    case Kind::kSlice:
      return evaluate_slice(expr, scope);
    case Kind::kCall:
      return evaluate_call(expr, scope);
    case Kind::kFilter:
      return evaluate_filter(expr, nullptr, scope);
    case Kind::kTest: {
      const Value input = evaluate(*operands[0], scope);
      return Value::of(apply_test(expr.name, input, arguments_of(expr, scope)));
    }
  }
  return {};
}

Value Interpreter::look_up(const std::string& name, const Scope& scope) const {
  for (const Scope* s = &scope; s != nullptr; s = s->parent) {
    for (const auto& [own, value] : s->names) {
      if (own == name) return value;
    }
  }
  if (const Function::Builtin builtin = find_global(name)) {
    return Value::of(Function{.name = name, .builtin = builtin});
  }
  return Value::undefined("'" + name + "'");
}

std::vector<Value> Interpreter::evaluate_all(const Expr& expr, Scope& scope) {
  std::vector<Value> values;
  values.reserve(expr.operands.size());
  charge(std::ssize(expr.operands));
  for (const ExprPtr& operand : expr.operands) values.push_back(evaluate(*operand, scope));
  return values;
}

Arguments Interpreter::arguments_of(const Expr& expr, Scope& scope) {
  Arguments arguments;
  for (std::size_t i = 1; i < expr.operands.size(); ++i) {
    arguments.positional.push_back(evaluate(*expr.operands[i], scope));
  }
  for (const auto& [name, value] : expr.named) {
    arguments.named.emplace_back(name, evaluate(*value, scope));
  }
  return arguments;
}

Value Interpreter::evaluate_binary(const Expr& expr, Scope& scope) {
  Value value = evaluate(*expr.operands[0], scope);
  if (expr.kind == Expr::Kind::kUnary) {
    const Value zero = Value::of(std::int64_t{0});
    if (!value.is_number())
      fail(fmt::format("'{}' of a value of type {}", expr.name, value.type_name()));
    return binary(expr.name, zero, value);
  }
  if (expr.name != "~") return binary(expr.name, value, evaluate(*expr.operands[1], scope));
  Text text = text_of(value);
  for (std::size_t i = 1; i < expr.operands.size(); ++i) {
    text.append(text_of(evaluate(*expr.operands[i], scope)));
  }
  text.set_safe(false);
  return make_text(std::move(text));
}

Value Interpreter::evaluate_compare(const Expr& expr, Scope& scope) {
  Value left = evaluate(*expr.operands[0], scope);
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = evaluate(*expr.operands[i + 1], scope);
    if (!holds(expr.operators[i], left, right)) return Value::of(false);
    left = std::move(right);
  }
  return Value::of(true);
}

bool Interpreter::holds(std::string_view op, const Value& a, const Value& b) {
  if (op == "==") return are_equal(a, b);
  if (op == "!=") return !are_equal(a, b);
  if (op == "in") return is_in(a, b);
  if (op == "not in") return !is_in(a, b);
  const std::strong_ordering order = order_of(a, b);
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

bool Interpreter::are_equal(const Value& a, const Value& b) {
  charge(std::min(a.weight(), b.weight()));
  return a == b;
}

std::strong_ordering Interpreter::order_of(const Value& a, const Value& b) {
  charge(std::min(a.weight(), b.weight()));
  const auto order = compare(a, b);
  if (!order) {
    const Value& undefined = a.is_undefined() ? a : b;
    if (undefined.is_undefined()) fail(described(undefined) + " is undefined");
    fail(fmt::format("values of types {} and {} have no order", a.type_name(), b.type_name()));
  }
  return *order;
}

bool Interpreter::is_in(const Value& element, const Value& container) {
  charge(container.weight());
  if (const Text* text = container.as_text()) {
    return text->bytes().find(need_text(element, "'in' of a text").bytes()) != std::string::npos;
  }
  if (const Dict* dict = container.as_dict()) return dict->find(element) != nullptr;
  const std::vector<Value> items = items_of(container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& item) { return are_equal(item, element); });
}

Value Interpreter::evaluate_conditional(const Expr& expr, Scope& scope) {
  if (evaluate(*expr.operands[1], scope).is_true()) return evaluate(*expr.operands[0], scope);
  if (expr.operands[2] != nullptr) return evaluate(*expr.operands[2], scope);
  return Value::undefined("the inline if without else");
}

Value Interpreter::evaluate_slice(const Expr& expr, Scope& scope) {
  const auto part = [&](std::size_t i) {
    return expr.operands[i] != nullptr ? evaluate(*expr.operands[i], scope) : Value::none();
  };
  const Value object = evaluate(*expr.operands[0], scope);
  const Value start = part(1), stop = part(2), step = part(3);
  return get_slice(*this, object, start, stop, step);
}

Value Interpreter::evaluate_call(const Expr& expr, Scope& scope) {
  const Value function = evaluate(*expr.operands[0], scope);
  return call(function, arguments_of(expr, scope));
}

Value Interpreter::call(const Value& value, const Arguments& arguments) {
  const Function* function = value.as_function();
  if (value.is_undefined()) fail(described(value) + " is undefined");
  if (function == nullptr)
    fail(fmt::format("a value of type {} cannot be called", value.type_name()));
  if (function->macro != nullptr) return call_macro(*function, arguments);
  return function->builtin(*this, function->receiver, arguments);
}

// `input` stands for the missing input of a filter block's first filter.
Value Interpreter::evaluate_filter(const Expr& expr, const Value* input, Scope& scope) {
  const Expr* inner = expr.operands[0].get();
  Value value;
  if (inner == nullptr) {
    value = *input;
  } else {
    const bool is_chain = input != nullptr && inner->kind == Expr::Kind::kFilter;
    value = is_chain ? evaluate_filter(*inner, input, scope) : evaluate(*inner, scope);
  }
  const Arguments arguments = arguments_of(expr, scope);
  line_ = expr.line;
  return apply_filter(expr.name, value, arguments);
}

Value Interpreter::apply_filter(std::string_view name, const Value& input,
                                const Arguments& arguments) {
  const Filter filter = find_filter(name);
  if (filter == nullptr) fail(fmt::format("filter '{}': not known", name));
  charge(1);
  return filter(*this, input, arguments);
}

bool Interpreter::apply_test(std::string_view name, const Value& input,
                             const Arguments& arguments) {
  const Test test = find_test(name);
  if (test == nullptr) fail(fmt::format("test '{}': not known", name));
  charge(1);
  return test(*this, input, arguments);
}

Text Interpreter::text_of(const Value& value) {
  Text text = to_text(value, limits_.text_bytes);
  charge(static_cast<std::int64_t>(text.size() / 16));
  return text;
}

const Text& Interpreter::need_text(const Value& value, std::string_view of) {
  if (const Text* text = value.as_text()) return *text;
  if (value.is_undefined()) fail(described(value) + " is undefined");
  fail(fmt::format("{}: want a text, found a value of type {}", of, value.type_name()));
}

std::int64_t Interpreter::need_int(const Value& value, std::string_view of) {
  if (const auto number = value.as_int()) return *number;
  fail(fmt::format("{}: want a whole number, found a value of type {}", of, value.type_name()));
}

std::vector<Value> Interpreter::items_of(const Value& value) {
  if (const List* list = value.as_list()) {
    charge(std::ssize(list->items));
    if (list->kind != Sequence::kGenerator) return list->items;
    if (std::exchange(list->is_used_up, true)) return {};
    return list->items;
  }
  std::vector<Value> items;
  if (const Dict* dict = value.as_dict()) {
    charge(std::ssize(dict->entries));
    for (const auto& [key, held] : dict->entries) items.push_back(key);
  } else if (const Text* text = value.as_text()) {
    const std::vector<std::size_t> starts = code_point_starts(text->bytes());
    charge(2 * std::ssize(starts));
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      items.push_back(Value::of(text->substr(starts[i], starts[i + 1] - starts[i])));
    }
  } else if (!value.is_undefined()) {
    fail(fmt::format("a value of type {} cannot be gone through", value.type_name()));
  }
  return items;
}

Value Interpreter::attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) fail(described(object) + " is undefined");
  if (const Loop* loop = object.as_loop()) {
    if (name == "cycle" || name == "changed") {
      const auto builtin = name == "cycle" ? &cycle : &changed;
      return Value::of(Function{.name = std::string(name), .builtin = builtin, .receiver = object});
    }
    return loop_attribute(*loop, name);
  }
  if (const Namespace* space = object.as_namespace()) {
    for (const auto& [own, value] : space->names) {
      if (own == name) return value;
    }
    return Value::undefined(fmt::format("the namespace's '{}'", name));
  }
  if (const Function::Builtin method = find_method(object, name)) {
    return Value::of(Function{.name = std::string(name), .builtin = method, .receiver = object});
  }
  if (const Dict* dict = object.as_dict()) {
    charge(1 + std::ssize(dict->entries) / 16);
    if (const Value* found = dict->find(name)) return *found;
  }
  return Value::undefined(fmt::format("'{}' of a value of type {}", name, object.type_name()));
}

Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is_undefined()) fail(described(object) + " is undefined");
  if (const Dict* dict = object.as_dict()) {
    charge(1 + std::ssize(dict->entries) / 16);
    if (const Value* found = dict->find(key)) return *found;
  }
  const auto place = key.as_int();
  const List* list = object.as_list();
  if (list != nullptr && place && list->kind != Sequence::kGenerator) {
    const std::int64_t n = std::ssize(list->items);
    const std::int64_t i = *place < 0 ? *place + n : *place;
    if (i >= 0 && i < n) return list->items[static_cast<std::size_t>(i)];
  }
  if (const Text* text = object.as_text(); text != nullptr && place) {
    const std::vector<std::size_t> starts = code_point_starts(text->bytes());
    charge(std::ssize(starts) / 16);
    const std::int64_t n = std::ssize(starts) - 1;
    const std::int64_t i = *place < 0 ? *place + n : *place;
    if (i < 0 || i >= n) return Value::undefined("a character out of range");
    const auto at = static_cast<std::size_t>(i);
    return Value::of(text->substr(starts[at], starts[at + 1] - starts[at]));
  }
  if (const Text* name = key.as_text(); name != nullptr && !object.is_dict()) {
    return attribute(object, name->bytes());
  } else if (name != nullptr) {
    if (const Function::Builtin method = find_method(object, name->bytes()))
      return Value::of(Function{.name = name->bytes(), .builtin = method, .receiver = object});
    return Value::undefined(fmt::format("'{}'", name->bytes().substr(0, 80)));
  }
  return Value::undefined(fmt::format("an element of a value of type {}", object.type_name()));
}

Value Interpreter::path(const Value& object, const Value& path) {
  if (path.is_int()) return item(object, path);
  const std::string& names = need_text(path, "attribute").bytes();
  Value value = object;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find('.', begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    const bool is_number = !name.empty() && name.size() < 10 &&
                           name.find_first_not_of("0123456789") == std::string::npos;
    value = item(value, is_number ? Value::of(std::int64_t{std::stoi(name)})
                                  : Value::text(name, Origin::kTemplate));
    begin = end + 1;
  }
  return value;
}

}  // namespace runnel::jinja
