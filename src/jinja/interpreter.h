// Walks a template's tree. Values are computed by expressions.cpp, the built-in operations live in
// filters.cpp, tests.cpp and methods.cpp: each a table of functions by name.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/syntax.h"
#include "jinja/template.h"
#include "jinja/value.h"

namespace runnel::jinja {

class Interpreter;

// The names of a block, and of the blocks around it.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> names;  // views of the tree
  bool is_kept = false;  // a macro sees it, so it may not be used for another block
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> names;
};

// `loop` in a for block.
struct Loop {
  std::vector<Value> items;
  std::size_t index = 0;
  Value last_changed;
};

struct Function {
  using Builtin = Value (*)(Interpreter&, const Value& receiver, const Arguments&);
  std::string name;
  Builtin builtin = nullptr;
  Value receiver = {};
  const Macro* macro = nullptr;
  Scope* scope = nullptr;  // where the macro was defined
};

class Interpreter {
 public:
  Interpreter(const Limits& limits, std::optional<std::tm> now) : limits_(limits), now_(now) {}

  Text run(const Block& body, const Variables& variables);

  // For the built-in operations.
  [[noreturn]] void fail(std::string_view what) const;
  void charge(std::int64_t steps);  // work done
  Value make_text(Text text);       // counted
  Value make_text(std::string bytes, Origin origin) {
    return make_text(Text(std::move(bytes), origin));
  }
  Text text_of(const Value& value);  // str()
  const Text& need_text(const Value& value, std::string_view of);
  std::int64_t need_int(const Value& value, std::string_view of);
  std::vector<Value> items_of(const Value& value);  // what a for loop goes through
  Value attribute(const Value& object, std::string_view name);
  Value item(const Value& object, const Value& key);
  Value path(const Value& object, const Value& path);  // "a.b.0", as filters' attribute=
  Value call(const Value& function, const Arguments& arguments);
  Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments);
  bool apply_test(std::string_view name, const Value& input, const Arguments& arguments);
  bool are_equal(const Value& a, const Value& b);
  bool is_in(const Value& element, const Value& container);
  std::strong_ordering order_of(const Value& a, const Value& b);
  Value binary(std::string_view op, const Value& a, const Value& b);
  std::size_t text_limit() const { return limits_.text_bytes; }
  std::tm now() const;

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Level;  // counts depth

  Flow execute(const Block& block, Scope& scope, Text& out);
  Flow execute(const Node& node, Scope& scope, Text& out);
  Flow execute_if(const Node& node, Scope& scope, Text& out);
  Flow execute_for(const Node& node, Scope& scope, Text& out);
  void execute_set_block(const Node& node, Scope& scope);
  void execute_with(const Node& node, Scope& scope, Text& out);
  void execute_macro(const Node& node, Scope& scope);
  void execute_call_block(const Node& node, Scope& scope, Text& out);
  Text execute_apart(const Block& block, Scope& scope);
  std::vector<Value> loop_items(const Node& node, Scope& scope);
  void assign(const Expr& target, Value value, Scope& scope);
  void emit(const Value& value, Text& out);
  Value call_macro(const Function& function, const Arguments& arguments);

  Value evaluate(const Expr& expr, Scope& scope);
  Value evaluate_plain(const Expr& expr, Scope& scope);
  Value look_up(const std::string& name, const Scope& scope) const;
  Value evaluate_binary(const Expr& expr, Scope& scope);
  Value evaluate_compare(const Expr& expr, Scope& scope);
  Value evaluate_conditional(const Expr& expr, Scope& scope);
  Value evaluate_slice(const Expr& expr, Scope& scope);
  Value evaluate_call(const Expr& expr, Scope& scope);
  Value evaluate_filter(const Expr& expr, const Value* input, Scope& scope);
  std::vector<Value> evaluate_all(const Expr& expr, Scope& scope);
  Arguments arguments_of(const Expr& expr, Scope& scope);
  bool holds(std::string_view op, const Value& a, const Value& b);

  Scope& open_scope(Scope& parent);
  void close_scope(Scope& scope);

  const Limits& limits_;
  std::optional<std::tm> now_;
  std::int64_t steps_ = 0;
  int depth_ = 0;
  int loop_depth_ = 0;
  int line_ = 0;
  std::deque<Scope> scopes_;  // all that were made; those of macros live on
  std::vector<Scope*> free_scopes_;
  std::deque<Namespace> namespaces_;
  std::deque<Loop> loops_;

  friend struct Globals;
};

// The functions a template may call by name; null: none of this name.
Function::Builtin find_global(std::string_view name);
using Filter = Value (*)(Interpreter&, const Value& input, const Arguments&);
Filter find_filter(std::string_view name);
Text escaped(const Text& text);             // for HTML; a safe one as it is
Text sum_of(const Text& a, const Text& b);  // safe where one is, the other one escaped then
using Test = bool (*)(Interpreter&, const Value& input, const Arguments&);
Test find_test(std::string_view name);
// Methods of texts, lists, tuples and dictionaries.
Function::Builtin find_method(const Value& object, std::string_view name);
Value get_slice(Interpreter& in, const Value& object, const Value& start, const Value& stop,
                const Value& step);

}  // namespace runnel::jinja
