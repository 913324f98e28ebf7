// What a template computes with: Python's values, as far as chat templates use them. Lists and
// dictionaries never change once made, so values are shared freely and cannot form cycles; the
// objects that do change (namespaces, loops) belong to the interpreter and are pointed to.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/text.h"

namespace runnel::jinja {

class Value;
struct Function;
struct Loop;
struct Namespace;

struct Undefined {
  std::shared_ptr<const std::string> name;  // for messages: "'tools'"; may be null
};
struct None {};

// A generator is what filters as `map` give: true whatever it holds, empty once it was gone
// through.
enum class Sequence { kList, kTuple, kGenerator };

struct List {
  std::vector<Value> items;
  Sequence kind = Sequence::kList;
  int depth = 1;
  std::int64_t weight = 1;
  mutable bool is_used_up = false;  // a generator that was gone through
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion
  int depth = 1;
  std::int64_t weight = 1;
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

// How deep values may lie in each other, and how many one may hold, counted as often as they occur.
constexpr int kLargestDepth = 128;
constexpr std::int64_t kLargestWeight = 1 << 22;

class Value {
 public:
  Value() : held_(Undefined{}) {}
  static Value undefined(std::string name) {
    return Value(Held(Undefined{std::make_shared<const std::string>(std::move(name))}));
  }
  static Value none() { return Value(Held(None{})); }
  static Value of(bool value) { return Value(Held(value)); }
  static Value of(std::int64_t value) { return Value(Held(value)); }
  static Value of(double value) { return Value(Held(value)); }
  static Value of(Text text) { return Value(Held(std::make_shared<const Text>(std::move(text)))); }
  static Value text(std::string bytes, Origin origin) { return of(Text(std::move(bytes), origin)); }
  // Error: too deep, or too much.
  static Value list(std::vector<Value> items, Sequence kind = Sequence::kList);
  static Value tuple(std::vector<Value> items) { return list(std::move(items), Sequence::kTuple); }
  // A key that comes again replaces the value, at the first one's place.
  static Value dict(std::vector<std::pair<Value, Value>> entries);
  static Value of(Function function);
  static Value of(Namespace* space) { return Value(Held(space)); }
  static Value of(Loop* loop) { return Value(Held(loop)); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(held_); }
  bool is_none() const { return std::holds_alternative<None>(held_); }
  bool is_bool() const { return std::holds_alternative<bool>(held_); }
  bool is_int() const { return std::holds_alternative<std::int64_t>(held_); }
  bool is_float() const { return std::holds_alternative<double>(held_); }
  bool is_number() const { return is_int() || is_float() || is_bool(); }
  bool is_text() const { return as_text() != nullptr; }
  bool is_list() const { return as_list() != nullptr; }
  bool is_dict() const { return as_dict() != nullptr; }

  const Undefined* as_undefined() const { return std::get_if<Undefined>(&held_); }
  // True, False and whole numbers.
  std::optional<std::int64_t> as_int() const;
  std::optional<double> as_float() const;  // any number
  const Text* as_text() const { return pointee<Text>(); }
  const List* as_list() const { return pointee<List>(); }
  const Dict* as_dict() const { return pointee<Dict>(); }
  const Function* as_function() const { return pointee<Function>(); }
  Namespace* as_namespace() const { return pointer<Namespace*>(); }
  Loop* as_loop() const { return pointer<Loop*>(); }

  bool is_true() const;                // Python's truth
  int depth() const;                   // 0 for what holds nothing
  std::int64_t weight() const;         // how much work it is to go through it
  const void* identity() const;        // of shared objects; null for plain values
  std::string_view type_name() const;  // Python's

 private:
  using Held =
      std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const Text>,
                   std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                   std::shared_ptr<const Function>, Namespace*, Loop*>;
  explicit Value(Held held) : held_(std::move(held)) {}
  template <typename T>
  const T* pointee() const {
    const auto* shared = std::get_if<std::shared_ptr<const T>>(&held_);
    return shared ? shared->get() : nullptr;
  }
  template <typename P>
  P pointer() const {
    const P* found = std::get_if<P>(&held_);
    return found ? *found : nullptr;
  }

  Held held_;
};

bool operator==(const Value& a, const Value& b);  // Python's ==
// Python's order. nullopt: the two have none.
std::optional<std::strong_ordering> compare(const Value& a, const Value& b);

// str(), repr() and json.dumps() as Python writes them. `limit`: an Error instead of longer text.
Text to_text(const Value& value, std::size_t limit);
std::string to_repr(const Value& value, std::size_t limit);
struct JsonStyle {
  std::string indent;  // of a level; empty and !has_indent: one line
  bool has_indent = false;
  std::string comma = ", ", colon = ": ";
  bool sorts_keys = false;
  bool is_ascii = false;
};
std::string to_json(const Value& value, const JsonStyle& style, std::size_t limit);
std::string float_text(double value);  // repr() of a float

// All texts in it have this origin. Error: not JSON, or deeper than kLargestDepth / 2.
Value value_from_json(std::string_view json, Origin origin);

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at this place or of this name.
  const Value* find(std::size_t place, std::string_view name) const;
  Value get(std::size_t place, std::string_view name, Value otherwise = Value::none()) const;
};

}  // namespace runnel::jinja
