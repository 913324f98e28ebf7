// Arithmetic, as Python does it.
#include <fmt/format.h>
#include <fmt/printf.h>

#include <algorithm>
#include <cmath>

#include "jinja/interpreter.h"
#include "jinja/unicode.h"

namespace runnel::jinja {
namespace {

Value checked(Interpreter& in, bool has_overflown, const std::int64_t* value) {
  if (has_overflown) in.fail("a whole number beyond 64 bits");
  return Value::of(*value);
}

Value power(Interpreter& in, std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) in.fail("division by zero");
    return Value::of(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  for (std::int64_t i = 0; i < exponent; ++i) {
    if (base == 0 || base == 1) return Value::of(exponent > 0 ? base : 1);
    if (base == -1) return Value::of(std::int64_t{exponent % 2 == 0 ? 1 : -1});
    if (__builtin_mul_overflow(result, base, &result)) in.fail("a whole number beyond 64 bits");
  }
  return Value::of(result);
}

Value whole_binary(Interpreter& in, std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (op == "+") return checked(in, __builtin_add_overflow(a, b, &result), &result);
  if (op == "-") return checked(in, __builtin_sub_overflow(a, b, &result), &result);
  if (op == "*") return checked(in, __builtin_mul_overflow(a, b, &result), &result);
  if (op == "**") return power(in, a, b);
  if (b == 0) in.fail("division by zero");
  if (op == "/") return Value::of(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) return op == "%" ? Value::of(std::int64_t{0}) : whole_binary(in, "-", 0, a);
  const bool rounds_down = a % b != 0 && (a % b < 0) != (b < 0);
  if (op == "//") return Value::of(a / b - (rounds_down ? 1 : 0));
  return Value::of(a % b + (rounds_down ? b : 0));
}

Value float_binary(Interpreter& in, std::string_view op, double a, double b) {
  if (op == "+") return Value::of(a + b);
  if (op == "-") return Value::of(a - b);
  if (op == "*") return Value::of(a * b);
  if (op == "**") return Value::of(std::pow(a, b));
  if (b == 0) in.fail("division by zero");
  if (op == "/") return Value::of(a / b);
  if (op == "//") return Value::of(std::floor(a / b));
  const double rest = std::fmod(a, b);
  return Value::of(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
}

Value repeated(Interpreter& in, const Value& value, std::int64_t times) {
  times = std::max<std::int64_t>(times, 0);
  if (const Text* text = value.as_text()) {
    const auto limit = static_cast<std::int64_t>(in.text_limit());
    if (!text->empty() && times > limit / std::ssize(text->bytes())) in.fail("a text too long");
    Text all;
    if (text->empty()) return value;
    for (std::int64_t i = 0; i < times; ++i) all.append(*text);
    return in.make_text(std::move(all));
  }
  const List& list = *value.as_list();
  std::vector<Value> all;
  for (std::int64_t i = 0; i < times && !list.items.empty(); ++i) {
    in.charge(value.weight() + std::ssize(list.items));
    all.insert(all.end(), list.items.begin(), list.items.end());
  }
  return Value::list(std::move(all), list.kind);
}

// '%s' and its like: %s %r %d %i %f %x %%, with width and precision.
Value formatted(Interpreter& in, const Text& format, const Value& argument) {
  std::vector<Value> values;
  const List* tuple = argument.as_list();
  if (tuple != nullptr && tuple->kind == Sequence::kTuple) {
    values = tuple->items;
  } else {
    values.push_back(argument);
  }
  const std::string& bytes = format.bytes();
  Text out;
  std::size_t next = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    if (bytes[at] != '%') {
      const std::size_t end = std::min(bytes.find('%', at), bytes.size());
      out.append(format.substr(at, end - at));
      at = end;
      continue;
    }
    std::size_t end = at + 1;
    while (end < bytes.size() &&
           std::string_view("0123456789.-+ ").find(bytes[end]) != std::string::npos)
      ++end;
    if (end >= bytes.size() || end - at > 4) in.fail("'%': an incomplete format");
    const std::string flags = bytes.substr(at + 1, end - at - 1);
    const char kind = bytes[end];
    at = end + 1;
    if (kind == '%') {
      out.append("%", Origin::kTemplate);
      continue;
    }
    if (next >= values.size()) in.fail("'%': not enough values");
    const Value& value = values[next++];
    if ((kind == 's' || kind == 'r') && flags.empty()) {
      out.append(kind == 's' ? in.text_of(value)
                             : Text(to_repr(value, in.text_limit()), Origin::kValue));
    } else if ((kind == 'd' || kind == 'i') && value.is_number()) {
      const auto number = static_cast<long long>(*value.as_float());
      out.append(fmt::sprintf("%" + flags + "lld", value.as_int() ? *value.as_int() : number),
                 Origin::kValue);
    } else if (kind == 'f' && value.is_number()) {
      out.append(fmt::sprintf("%" + flags + "f", *value.as_float()), Origin::kValue);
    } else {
      in.fail(
          fmt::format("'%': format '%{}{}' of a value of type {}", flags, kind, value.type_name()));
    }
  }
  if (next < values.size() && tuple != nullptr) in.fail("'%': not all values were used");
  return in.make_text(std::move(out));
}

}  // namespace

Value Interpreter::binary(std::string_view op, const Value& a, const Value& b) {
  if (a.as_int() && b.as_int()) return whole_binary(*this, op, *a.as_int(), *b.as_int());
  if (a.is_number() && b.is_number()) return float_binary(*this, op, *a.as_float(), *b.as_float());
  const bool is_list = a.is_list() && a.as_list()->kind != Sequence::kGenerator;
  if (op == "+" && a.is_text() && b.is_text()) {
    return make_text(sum_of(*a.as_text(), *b.as_text()));
  }
  if (op == "+" && is_list && b.is_list() && a.as_list()->kind == b.as_list()->kind) {
    std::vector<Value> all = a.as_list()->items;
    all.insert(all.end(), b.as_list()->items.begin(), b.as_list()->items.end());
    charge(2 * std::ssize(all));
    return Value::list(std::move(all), a.as_list()->kind);
  }
  if (op == "*" && (a.is_text() || is_list) && b.as_int()) return repeated(*this, a, *b.as_int());
  if (op == "*" && a.as_int() && (b.is_text() || b.is_list())) return binary(op, b, a);
  if (op == "%" && a.is_text()) return formatted(*this, *a.as_text(), b);
  for (const Value* operand : {&a, &b}) {
    if (!operand->is_undefined()) continue;
    const auto& name = operand->as_undefined()->name;
    fail(fmt::format("{} is undefined", name ? *name : "the value"));
  }
  fail(fmt::format("'{}' of values of types {} and {}", op, a.type_name(), b.type_name()));
}

Value get_slice(Interpreter& in, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
  if (object.is_undefined()) in.attribute(object, "slice");  // fails with its name
  const Text* text = object.as_text();
  const List* list = object.as_list();
  if (text == nullptr && (list == nullptr || list->kind == Sequence::kGenerator)) {
    return Value::undefined("a slice");
  }
  const std::vector<std::size_t> starts =
      text ? code_point_starts(text->bytes()) : std::vector<std::size_t>();
  const std::int64_t n = text ? std::ssize(starts) - 1 : std::ssize(list->items);
  in.charge(n / 16);
  const std::int64_t by = step.is_none() ? 1 : in.need_int(step, "a slice's step");
  if (by == 0) in.fail("a slice's step: want another than 0");
  const auto bound = [&](const Value& value, std::int64_t otherwise) {
    if (value.is_none()) return otherwise;
    std::int64_t at = in.need_int(value, "a slice");
    if (at < 0) at = at < -n ? -1 : at + n;
    return by > 0 ? std::clamp<std::int64_t>(at, 0, n) : std::clamp<std::int64_t>(at, -1, n - 1);
  };
  const std::int64_t first = bound(start, by > 0 ? 0 : n - 1);
  const std::int64_t last = bound(stop, by > 0 ? n : -1);
  if (text != nullptr && by == 1) {
    if (last <= first) return Value::text("", Origin::kValue);
    const std::size_t begin = starts[static_cast<std::size_t>(first)];
    return in.make_text(text->substr(begin, starts[static_cast<std::size_t>(last)] - begin));
  }
  Text part;
  std::vector<Value> items;
  for (std::int64_t i = first; by > 0 ? i < last : i > last;) {
    const auto at = static_cast<std::size_t>(i);
    if (text != nullptr) {
      part.append(text->substr(starts[at], starts[at + 1] - starts[at]));
    } else {
      items.push_back(list->items[at]);
    }
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (text != nullptr) return in.make_text(std::move(part));
  in.charge(std::ssize(items));
  return Value::list(std::move(items), list->kind);
}

}  // namespace runnel::jinja
