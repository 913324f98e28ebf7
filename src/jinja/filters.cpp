#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "jinja/interpreter.h"
#include "jinja/unicode.h"
#include "runnel/error.h"

namespace runnel::jinja {
namespace {

using In = Interpreter;
using Args = Arguments;

bool flag(const Args& args, std::size_t place, std::string_view name) {
  return args.get(place, name, Value::of(false)).is_true();
}

Value value_of_path(In& in, const Value& item, const Value& path) {
  return path.is_none() ? item : in.path(item, path);
}

// What sorting and uniqueness look at.
Value sort_key(In& in, const Value& item, const Value& attribute, bool is_case_sensitive) {
  Value key = value_of_path(in, item, attribute);
  const Text* text = key.as_text();
  if (text == nullptr || is_case_sensitive) return key;
  return Value::text(ascii_lower(text->bytes()), Origin::kValue);
}

Value length(In& in, const Value& input, const Args&) {
  if (const Text* text = input.as_text()) {
    in.charge(std::ssize(text->bytes()) / 16);
    return Value::of(static_cast<std::int64_t>(count_code_points(text->bytes())));
  }
  const List* list = input.as_list();
  if (list != nullptr && list->kind != Sequence::kGenerator)
    return Value::of(std::int64_t{std::ssize(list->items)});
  if (const Dict* dict = input.as_dict()) return Value::of(std::int64_t{std::ssize(dict->entries)});
  if (input.is_undefined()) return Value::of(std::int64_t{0});
  in.fail(fmt::format("length: a value of type {} has none", input.type_name()));
}

Value trim(In& in, const Value& input, const Args& args) {
  const Text text = in.text_of(input);
  const Value chars = args.get(0, "chars");
  if (!chars.is_none()) {
    const Function::Builtin strip = find_method(Value::of(text), "strip");
    return strip(in, Value::of(text), {.positional = {chars}, .named = {}});
  }
  const Range range = stripped(text.bytes(), true, true);
  return in.make_text(text.substr(range.begin, range.end - range.begin));
}

Value upper(In& in, const Value& input, const Args&) {
  const Text text = in.text_of(input);
  return in.make_text(text.with_bytes(ascii_upper(text.bytes())));
}
Value lower(In& in, const Value& input, const Args&) {
  const Text text = in.text_of(input);
  return in.make_text(text.with_bytes(ascii_lower(text.bytes())));
}
Value capitalize(In& in, const Value& input, const Args&) {
  const Text text = in.text_of(input);
  std::string bytes = ascii_lower(text.bytes());
  if (!bytes.empty()) bytes[0] = ascii_upper(bytes.substr(0, 1))[0];
  return in.make_text(text.with_bytes(std::move(bytes)));
}
// Unlike the method of this name: a letter begins a word behind space and opening brackets only.
Value title(In& in, const Value& input, const Args&) {
  const Text text = in.text_of(input);
  std::string bytes = ascii_lower(text.bytes());
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    const bool begins =
        at == 0 || std::string_view("-({[< \t\n\r\v\f").find(bytes[at - 1]) != std::string::npos;
    if (begins) bytes[at] = ascii_upper(bytes.substr(at, 1))[0];
  }
  return in.make_text(text.with_bytes(std::move(bytes)));
}

Value join(In& in, const Value& input, const Args& args) {
  const Text between = in.text_of(args.get(0, "d", Value::text("", Origin::kTemplate)));
  const Value attribute = args.get(1, "attribute");
  Text out;
  bool is_first = true;
  for (const Value& item : in.items_of(input)) {
    if (!is_first) out.append(between);
    is_first = false;
    out.append(in.text_of(value_of_path(in, item, attribute)));
    if (out.size() > in.text_limit()) break;  // make_text() says so
  }
  return in.make_text(std::move(out));
}

Value default_value(In&, const Value& input, const Args& args) {
  const bool is_missing = input.is_undefined() || (flag(args, 1, "boolean") && !input.is_true());
  return is_missing ? args.get(0, "default_value", Value::text("", Origin::kTemplate)) : input;
}

Value to_json_filter(In& in, const Value& input, const Args& args) {
  JsonStyle style;
  style.is_ascii = flag(args, 0, "ensure_ascii");
  const Value indent = args.get(1, "indent");
  if (!indent.is_none()) {
    style.has_indent = true;
    style.comma.assign(1, ',');
    const Text* text = indent.as_text();
    const std::int64_t n =
        text ? 0 : std::clamp<std::int64_t>(in.need_int(indent, "indent"), 0, 64);
    style.indent =
        text ? text->bytes().substr(0, 64) : std::string(static_cast<std::size_t>(n), ' ');
  }
  const Value separators = args.get(2, "separators");
  if (!separators.is_none()) {
    const std::vector<Value> two = in.items_of(separators);
    if (two.size() != 2) in.fail("tojson: want two separators");
    style.comma = in.need_text(two[0], "separators").bytes();
    style.colon = in.need_text(two[1], "separators").bytes();
  }
  style.sorts_keys = flag(args, 3, "sort_keys");
  in.charge(input.weight());
  if (input.is_undefined()) in.need_text(input, "tojson");  // fails with its name
  return in.make_text(to_json(input, style, in.text_limit()), Origin::kValue);
}

Value first(In& in, const Value& input, const Args&) {
  std::vector<Value> items = in.items_of(input);
  return items.empty() ? Value::undefined("the first of nothing") : items.front();
}
Value last(In& in, const Value& input, const Args&) {
  std::vector<Value> items = in.items_of(input);
  return items.empty() ? Value::undefined("the last of nothing") : items.back();
}

Value list(In& in, const Value& input, const Args&) { return Value::list(in.items_of(input)); }
Value reverse(In& in, const Value& input, const Args&) {
  std::vector<Value> items = in.items_of(input);
  std::reverse(items.begin(), items.end());
  if (!input.is_text()) return Value::list(std::move(items), Sequence::kGenerator);
  Text out;
  for (const Value& item : items) out.append(*item.as_text());
  return in.make_text(std::move(out));
}
Value string(In& in, const Value& input, const Args&) { return in.make_text(in.text_of(input)); }

Value to_int(In& in, const Value& input, const Args& args) {
  const Value otherwise = args.get(0, "default", Value::of(std::int64_t{0}));
  if (const auto number = input.as_int()) return Value::of(*number);
  if (const auto number = input.as_float()) {
    if (!(std::fabs(*number) < 9e18)) return otherwise;
    return Value::of(static_cast<std::int64_t>(*number));
  }
  if (!input.is_text()) return otherwise;
  const std::string& bytes = input.as_text()->bytes();
  const Range range = stripped(bytes, true, true);
  const bool has_plus = range.begin < range.end && bytes[range.begin] == '+';
  const char* begin = bytes.data() + range.begin + (has_plus ? 1 : 0);
  const char* end = bytes.data() + range.end;
  std::int64_t number = 0;
  const std::int64_t base = in.need_int(args.get(1, "base", Value::of(std::int64_t{10})), "base");
  if (base < 2 || base > 36) in.fail("int: want a base of 2 to 36");
  if (begin == end) return otherwise;
  const auto whole = std::from_chars(begin, end, number, static_cast<int>(base));
  if (whole.ec == std::errc() && whole.ptr == end) return Value::of(number);
  double real = 0;
  const auto found = std::from_chars(begin, end, real);
  if (found.ec != std::errc() || found.ptr != end || !(std::fabs(real) < 9e18)) return otherwise;
  return Value::of(static_cast<std::int64_t>(real));
}

Value to_float(In&, const Value& input, const Args& args) {
  const Value otherwise = args.get(0, "default", Value::of(0.0));
  if (const auto number = input.as_float()) return Value::of(*number);
  if (!input.is_text()) return otherwise;
  const std::string& bytes = input.as_text()->bytes();
  const Range range = stripped(bytes, true, true);
  const char* end = bytes.data() + range.end;
  double real = 0;
  const auto found = std::from_chars(bytes.data() + range.begin, end, real);
  return found.ec == std::errc() && found.ptr == end ? Value::of(real) : otherwise;
}

Value absolute(In& in, const Value& input, const Args&) {
  if (input.is_float()) return Value::of(std::fabs(*input.as_float()));
  const std::int64_t number = in.need_int(input, "abs");
  return number < 0 ? in.binary("-", Value::of(std::int64_t{0}), input) : Value::of(number);
}

Value round_number(In& in, const Value& input, const Args& args) {
  const auto number = input.as_float();
  if (!number)
    in.fail(fmt::format("round: want a number, found a value of type {}", input.type_name()));
  const Value digits = args.get(0, "precision", Value::of(std::int64_t{0}));
  const std::int64_t n = std::clamp<std::int64_t>(in.need_int(digits, "precision"), -300, 300);
  const std::string method =
      in.text_of(args.get(1, "method", Value::text("common", Origin::kTemplate))).bytes();
  if (method == "common") {  // exact halves to the even neighbour, by the decimal expansion
    if (input.is_int()) return input;
    return Value::of(n >= 0 ? std::stod(fmt::format("{:.{}f}", *number, static_cast<int>(n)))
                            : std::nearbyint(*number / std::pow(10.0, -n)) * std::pow(10.0, -n));
  }
  const double scale = std::pow(10.0, static_cast<double>(n));
  if (method == "ceil") return Value::of(std::ceil(*number * scale) / scale);
  if (method == "floor") return Value::of(std::floor(*number * scale) / scale);
  in.fail("round: want common, ceil or floor");
}

Value replace(In& in, const Value& input, const Args& args) {
  const Value text = Value::of(in.text_of(input));
  const Value old = args.get(0, "old"), other = args.get(1, "new");
  Args given = {.positional = {Value::of(in.text_of(old)), Value::of(in.text_of(other))},
                .named = {}};
  const Value count = args.get(2, "count");
  if (!count.is_none()) given.positional.push_back(count);
  return find_method(text, "replace")(in, text, given);
}

Value indent(In& in, const Value& input, const Args& args) {
  const Text text = in.text_of(input);
  const Value width = args.get(0, "width", Value::of(std::int64_t{4}));
  Text margin;
  if (width.is_text()) {
    margin = *width.as_text();
  } else {
    const std::int64_t n = std::clamp<std::int64_t>(in.need_int(width, "indent"), 0, 4096);
    margin = Text(std::string(static_cast<std::size_t>(n), ' '), Origin::kTemplate);
  }
  const bool indents_blank = flag(args, 2, "blank");
  const Value lines = find_method(input.is_text() ? input : Value::of(text), "splitlines")(
      in, Value::of(Text(text).append("\n", Origin::kValue)), {});
  Text out;
  if (flag(args, 1, "first")) out.append(margin);
  bool is_first = true;
  for (const Value& line : lines.as_list()->items) {
    if (!is_first) {
      out.append("\n", Origin::kTemplate);
      if (indents_blank || !line.as_text()->empty()) out.append(margin);
    }
    is_first = false;
    out.append(*line.as_text());
    if (out.size() > in.text_limit()) break;
  }
  return in.make_text(std::move(out));
}

Value items(In& in, const Value& input, const Args&) {
  if (input.is_undefined()) return Value::list({}, Sequence::kGenerator);
  if (!input.is_dict()) in.fail("items: want an object");
  const Value pairs = find_method(input, "items")(in, input, {});
  return Value::list(pairs.as_list()->items, Sequence::kGenerator);
}

// Sorted by key, stable; an error where two have no order.
std::vector<Value> sorted(In& in, std::vector<Value> items, const std::vector<Value>& keys,
                          bool is_reversed) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return is_reversed ? in.order_of(keys[b], keys[a]) < 0 : in.order_of(keys[a], keys[b]) < 0;
  });
  std::vector<Value> out;
  for (const std::size_t i : order) out.push_back(std::move(items[i]));
  return out;
}

Value sort(In& in, const Value& input, const Args& args) {
  std::vector<Value> all = in.items_of(input);
  const Value attribute = args.get(2, "attribute");
  std::vector<Value> keys;
  for (const Value& item : all)
    keys.push_back(sort_key(in, item, attribute, flag(args, 1, "case_sensitive")));
  return Value::list(sorted(in, std::move(all), keys, flag(args, 0, "reverse")));
}

Value dict_sort(In& in, const Value& input, const Args& args) {
  if (!input.is_dict()) in.fail("dictsort: want an object");
  const Value pairs = find_method(input, "items")(in, input, {});
  const std::string by =
      in.text_of(args.get(1, "by", Value::text("key", Origin::kTemplate))).bytes();
  if (by != "key" && by != "value") in.fail("dictsort: want by=\"key\" or \"value\"");
  std::vector<Value> keys;
  const Value place = Value::of(std::int64_t{by == "key" ? 0 : 1});
  for (const Value& pair : pairs.as_list()->items) {
    keys.push_back(sort_key(in, pair, place, flag(args, 0, "case_sensitive")));
  }
  return Value::list(sorted(in, pairs.as_list()->items, keys, flag(args, 2, "reverse")));
}

Value unique(In& in, const Value& input, const Args& args) {
  std::vector<Value> kept, keys;
  const Value attribute = args.get(1, "attribute");
  for (Value& item : in.items_of(input)) {
    Value key = sort_key(in, item, attribute, flag(args, 0, "case_sensitive"));
    const bool is_known = std::any_of(keys.begin(), keys.end(),
                                      [&](const Value& known) { return in.are_equal(known, key); });
    if (is_known) continue;
    keys.push_back(std::move(key));
    kept.push_back(std::move(item));
  }
  return Value::list(std::move(kept), Sequence::kGenerator);
}

Value extreme(In& in, const Value& input, const Args& args, bool wants_largest) {
  const Value attribute = args.get(1, "attribute");
  std::optional<Value> best, best_key;
  for (const Value& item : in.items_of(input)) {
    Value key = sort_key(in, item, attribute, flag(args, 0, "case_sensitive"));
    const bool is_better = !best || (wants_largest ? in.order_of(key, *best_key) > 0
                                                   : in.order_of(key, *best_key) < 0);
    if (!is_better) continue;
    best = item;
    best_key = std::move(key);
  }
  return best ? *best : Value::undefined("the extreme of nothing");
}
Value smallest(In& in, const Value& input, const Args& args) {
  return extreme(in, input, args, false);
}
Value largest(In& in, const Value& input, const Args& args) {
  return extreme(in, input, args, true);
}

Value sum(In& in, const Value& input, const Args& args) {
  const Value attribute = args.get(0, "attribute");
  Value total = args.get(1, "start", Value::of(std::int64_t{0}));
  for (const Value& item : in.items_of(input))
    total = in.binary("+", total, value_of_path(in, item, attribute));
  return total;
}

// Arguments behind the first `n` ones.
Args rest_of(const Args& args, std::size_t n) {
  Args rest = {.positional = {}, .named = args.named};
  for (std::size_t i = n; i < args.positional.size(); ++i)
    rest.positional.push_back(args.positional[i]);
  return rest;
}

Value map(In& in, const Value& input, const Args& args) {
  std::vector<Value> out;
  const bool is_attribute = args.positional.empty();
  const Value attribute = args.get(99, "attribute");
  const Value* otherwise = args.find(99, "default");
  if (is_attribute && attribute.is_none()) in.fail("map: want a filter or attribute=");
  const std::string filter = is_attribute ? "" : in.need_text(args.positional[0], "map").bytes();
  const Args rest = rest_of(args, 1);
  if (!input.is_true()) return Value::list({}, Sequence::kGenerator);
  for (const Value& item : in.items_of(input)) {
    if (is_attribute) {
      Value found = in.path(item, attribute);
      out.push_back(found.is_undefined() && otherwise != nullptr ? *otherwise : std::move(found));
    } else {
      out.push_back(in.apply_filter(filter, item, rest));
    }
  }
  return Value::list(std::move(out), Sequence::kGenerator);
}

// select, reject and their forms by attribute: what passes the test, or is true without one.
Value selected(In& in, const Value& input, const Args& args, bool wants, bool by_attribute) {
  std::vector<Value> out;
  const std::size_t n_first = by_attribute ? 1 : 0;
  if (by_attribute && args.positional.empty()) in.fail("want the name of an attribute");
  const bool has_test = args.positional.size() > n_first;
  const std::string test =
      has_test ? in.need_text(args.positional[n_first], "a test's name").bytes() : "";
  const Args rest = rest_of(args, n_first + 1);
  if (!input.is_true()) return Value::list({}, Sequence::kGenerator);
  for (const Value& item : in.items_of(input)) {
    const Value subject = by_attribute ? in.path(item, args.positional[0]) : item;
    const bool passes = has_test ? in.apply_test(test, subject, rest) : subject.is_true();
    if (passes == wants) out.push_back(item);
  }
  return Value::list(std::move(out), Sequence::kGenerator);
}
Value select(In& in, const Value& v, const Args& a) { return selected(in, v, a, true, false); }
Value reject(In& in, const Value& v, const Args& a) { return selected(in, v, a, false, false); }
Value select_attr(In& in, const Value& v, const Args& a) { return selected(in, v, a, true, true); }
Value reject_attr(In& in, const Value& v, const Args& a) { return selected(in, v, a, false, true); }

Value attr(In& in, const Value& input, const Args& args) {
  const std::string& name = in.need_text(args.get(0, "name"), "attr").bytes();
  if (input.is_dict() && find_method(input, name) == nullptr)
    return Value::undefined("'" + name + "'");
  return in.attribute(input, name);
}

Value batch(In& in, const Value& input, const Args& args) {
  const std::int64_t n = in.need_int(args.get(0, "linecount"), "batch");
  if (n < 1) in.fail("batch: want 1 or more");
  const Value* filler = args.find(1, "fill_with");
  std::vector<Value> rows, row;
  for (Value& item : in.items_of(input)) {
    if (std::ssize(row) == n) rows.push_back(Value::list(std::exchange(row, {})));
    row.push_back(std::move(item));
  }
  if (!row.empty() && filler != nullptr && !filler->is_none()) {
    in.charge(n);
    row.resize(static_cast<std::size_t>(n), *filler);
  }
  if (!row.empty()) rows.push_back(Value::list(std::move(row)));
  return Value::list(std::move(rows), Sequence::kGenerator);
}

Value safe(In& in, const Value& input, const Args&) {
  Text text = in.text_of(input);
  text.set_safe(true);
  return in.make_text(std::move(text));
}
Value escape(In& in, const Value& input, const Args&) {
  return in.make_text(escaped(in.text_of(input)));
}

Value format(In& in, const Value& input, const Args& args) {
  return in.binary("%", Value::of(in.text_of(input)), Value::tuple(args.positional));
}

}  // namespace

Text escaped(const Text& text) {
  if (text.is_safe()) return text;
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const std::string_view written = c == '&'    ? "&amp;"
                                     : c == '<'  ? "&lt;"
                                     : c == '>'  ? "&gt;"
                                     : c == '"'  ? "&#34;"
                                     : c == '\'' ? "&#39;"
                                                 : std::string_view(&c, 1);
    out.append(written, text.origin(i));
  }
  out.set_safe(true);
  return out;
}

Text sum_of(const Text& a, const Text& b) {
  if (!a.is_safe() && !b.is_safe()) return Text(a).append(b);
  Text sum = escaped(a);
  return sum.append(escaped(b));
}

Filter find_filter(std::string_view name) {
  static const std::map<std::string_view, Filter> kFilters = {{"abs", absolute},
                                                              {"attr", attr},
                                                              {"batch", batch},
                                                              {"capitalize", capitalize},
                                                              {"count", length},
                                                              {"d", default_value},
                                                              {"default", default_value},
                                                              {"dictsort", dict_sort},
                                                              {"e", escape},
                                                              {"escape", escape},
                                                              {"first", first},
                                                              {"float", to_float},
                                                              {"format", format},
                                                              {"indent", indent},
                                                              {"int", to_int},
                                                              {"items", items},
                                                              {"join", join},
                                                              {"last", last},
                                                              {"length", length},
                                                              {"list", list},
                                                              {"lower", lower},
                                                              {"map", map},
                                                              {"max", largest},
                                                              {"min", smallest},
                                                              {"reject", reject},
                                                              {"rejectattr", reject_attr},
                                                              {"replace", replace},
                                                              {"reverse", reverse},
                                                              {"round", round_number},
                                                              {"safe", safe},
                                                              {"select", select},
                                                              {"selectattr", select_attr},
                                                              {"sort", sort},
                                                              {"string", string},
                                                              {"sum", sum},
                                                              {"title", title},
                                                              {"tojson", to_json_filter},
                                                              {"trim", trim},
                                                              {"unique", unique},
                                                              {"upper", upper}};
  const auto found = kFilters.find(name);
  return found == kFilters.end() ? nullptr : found->second;
}

}  // namespace runnel::jinja
