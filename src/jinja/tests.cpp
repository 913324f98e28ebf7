#include <cmath>
#include <map>

#include "jinja/interpreter.h"
#include "jinja/unicode.h"

namespace runnel::jinja {
namespace {

using In = Interpreter;
using Args = Arguments;

const Value& other(In& in, const Args& args) {
  if (args.positional.empty()) in.fail("a test: want a value to compare with");
  return args.positional[0];
}

bool is_sequence(const Value& v) {
  return v.is_text() || v.is_dict() || v.is_undefined() ||
         (v.is_list() && v.as_list()->kind != Sequence::kGenerator);
}

bool is_same(const Value& a, const Value& b) {
  if (a.identity() != nullptr || b.identity() != nullptr) {
    // Texts are shared or not by chance of their history; equal ones count as the same.
    if (a.is_text() && b.is_text()) return a == b;
    return a.identity() == b.identity();
  }
  return a.type_name() == b.type_name() && a == b;
}

bool has_case(const Value& v, bool upper) {
  if (!v.is_text()) return false;
  const std::string& bytes = v.as_text()->bytes();
  const std::string changed = upper ? ascii_upper(bytes) : ascii_lower(bytes);
  return changed == bytes && ascii_upper(bytes) != ascii_lower(bytes);
}

std::int64_t remainder(In& in, const Value& v, const Value& by) {
  return in.need_int(in.binary("%", v, by), "a test");
}

}  // namespace

Test find_test(std::string_view name) {
  static const std::map<std::string_view, Test> kTests = {
      {"defined", [](In&, const Value& v, const Args&) { return !v.is_undefined(); }},
      {"undefined", [](In&, const Value& v, const Args&) { return v.is_undefined(); }},
      {"none", [](In&, const Value& v, const Args&) { return v.is_none(); }},
      {"boolean", [](In&, const Value& v, const Args&) { return v.is_bool(); }},
      {"true", [](In&, const Value& v, const Args&) { return v.is_bool() && v.is_true(); }},
      {"false", [](In&, const Value& v, const Args&) { return v.is_bool() && !v.is_true(); }},
      {"integer", [](In&, const Value& v, const Args&) { return v.is_int(); }},
      {"float", [](In&, const Value& v, const Args&) { return v.is_float(); }},
      {"number", [](In&, const Value& v, const Args&) { return v.is_number(); }},
      {"string", [](In&, const Value& v, const Args&) { return v.is_text(); }},
      {"mapping", [](In&, const Value& v, const Args&) { return v.is_dict(); }},
      {"sequence", [](In&, const Value& v, const Args&) { return is_sequence(v); }},
      {"iterable", [](In&, const Value& v, const Args&) { return v.is_list() || is_sequence(v); }},
      {"callable", [](In&, const Value& v, const Args&) { return v.as_function() != nullptr; }},
      {"sameas", [](In& in, const Value& v, const Args& a) { return is_same(v, other(in, a)); }},
      {"in", [](In& in, const Value& v, const Args& a) { return in.is_in(v, other(in, a)); }},
      {"odd", [](In& in, const Value& v,
                 const Args&) { return remainder(in, v, Value::of(std::int64_t{2})) == 1; }},
      {"even", [](In& in, const Value& v,
                  const Args&) { return remainder(in, v, Value::of(std::int64_t{2})) == 0; }},
      {"divisibleby",
       [](In& in, const Value& v, const Args& a) { return remainder(in, v, other(in, a)) == 0; }},
      {"lower", [](In&, const Value& v, const Args&) { return has_case(v, false); }},
      {"upper", [](In&, const Value& v, const Args&) { return has_case(v, true); }},
      {"filter",
       [](In& in, const Value& v,
          const Args&) { return find_filter(in.need_text(v, "filter").bytes()) != nullptr; }},
      {"test", [](In& in, const Value& v, const Args&) {
         return find_test(in.need_text(v, "test").bytes()) != nullptr;
       }}};
  static const std::map<std::string_view, Test> kComparisons = {
      {"==", [](In& in, const Value& v, const Args& a) { return in.are_equal(v, other(in, a)); }},
      {"!=", [](In& in, const Value& v, const Args& a) { return !in.are_equal(v, other(in, a)); }},
      {"<", [](In& in, const Value& v, const Args& a) { return in.order_of(v, other(in, a)) < 0; }},
      {"<=",
       [](In& in, const Value& v, const Args& a) { return in.order_of(v, other(in, a)) <= 0; }},
      {">", [](In& in, const Value& v, const Args& a) { return in.order_of(v, other(in, a)) > 0; }},
      {">=",
       [](In& in, const Value& v, const Args& a) { return in.order_of(v, other(in, a)) >= 0; }}};
  static const std::map<std::string_view, std::string_view> kNames = {
      {"eq", "=="}, {"equalto", "=="}, {"ne", "!="},         {"lt", "<"}, {"lessthan", "<"},
      {"le", "<="}, {"gt", ">"},       {"greaterthan", ">"}, {"ge", ">="}};
  const auto alias = kNames.find(name);
  const auto comparison = kComparisons.find(alias == kNames.end() ? name : alias->second);
  if (comparison != kComparisons.end()) return comparison->second;
  const auto found = kTests.find(name);
  return found == kTests.end() ? nullptr : found->second;
}

}  // namespace runnel::jinja
