// Methods of texts, lists and objects, and the functions that are there by name.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "jinja/interpreter.h"
#include "jinja/unicode.h"
#include "runnel/error.h"

namespace runnel::jinja {
namespace {

using In = Interpreter;
using Args = Arguments;

const Text& own(const Value& receiver) { return *receiver.as_text(); }

// The characters that strip() takes, or none: space.
Value strip_ends(In& in, const Value& receiver, const Args& args, bool left, bool right) {
  const Text& text = own(receiver);
  const Value chars = args.get(0, "chars");
  Range range = {0, text.size()};
  if (chars.is_none()) {
    range = stripped(text.bytes(), left, right);
  } else {
    const std::string& set = in.need_text(chars, "strip").bytes();
    const std::vector<std::size_t> starts = code_point_starts(text.bytes());
    in.charge(std::ssize(starts) * std::ssize(set) / 64);
    std::size_t first = 0, last = starts.size() - 1;
    const auto is_taken = [&](std::size_t i) {
      const std::string_view c =
          std::string_view(text.bytes()).substr(starts[i], starts[i + 1] - starts[i]);
      return set.find(c) != std::string::npos;
    };
    while (left && first < last && is_taken(first)) ++first;
    while (right && last > first && is_taken(last - 1)) --last;
    range = {starts[first], starts[last]};
  }
  return in.make_text(text.substr(range.begin, range.end - range.begin));
}
Value strip(In& in, const Value& r, const Args& a) { return strip_ends(in, r, a, true, true); }
Value left_strip(In& in, const Value& r, const Args& a) {
  return strip_ends(in, r, a, true, false);
}
Value right_strip(In& in, const Value& r, const Args& a) {
  return strip_ends(in, r, a, false, true);
}

// Pieces between runs of space.
std::vector<Value> split_words(In& in, const Text& text, std::int64_t most, bool from_right) {
  std::vector<Value> pieces;
  const std::string& bytes = text.bytes();
  std::size_t begin = 0, end = bytes.size();
  const auto trim = [&](bool left, bool right) {
    const Range rest = stripped(std::string_view(bytes).substr(begin, end - begin), left, right);
    end = begin + rest.end;
    begin += rest.begin;
  };
  trim(!from_right, from_right);
  while (begin < end) {
    if (most >= 0 && std::ssize(pieces) == most) {
      pieces.push_back(in.make_text(text.substr(begin, end - begin)));
      break;
    }
    std::size_t at = from_right ? end : begin;
    if (from_right) {
      std::size_t scan = begin;
      at = begin;
      while (scan < end) {
        const CodePoint point = code_point_at(bytes, scan);
        scan += point.length;
        if (is_space(point.value)) at = scan;
      }
      in.charge(static_cast<std::int64_t>(end - begin) / 16);
      pieces.push_back(in.make_text(text.substr(at, end - at)));
      end = at;
      trim(false, true);
    } else {
      while (at < end) {
        const CodePoint point = code_point_at(bytes, at);
        if (is_space(point.value)) break;
        at += point.length;
      }
      pieces.push_back(in.make_text(text.substr(begin, at - begin)));
      begin = at;
      trim(true, false);
    }
    in.charge(2);
  }
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Value split_by(In& in, const Value& receiver, const Args& args, bool from_right) {
  const Text& text = own(receiver);
  const Value separator = args.get(0, "sep");
  const std::int64_t most =
      in.need_int(args.get(1, "maxsplit", Value::of(std::int64_t{-1})), "split");
  if (separator.is_none()) return Value::list(split_words(in, text, most, from_right));
  const std::string& sep = in.need_text(separator, "split").bytes();
  if (sep.empty()) in.fail("split: want a separator that is not empty");
  in.charge(std::ssize(text.bytes()) / 16);
  std::vector<Value> pieces;
  const std::string& bytes = text.bytes();
  std::size_t begin = 0, end = bytes.size();
  while (most < 0 || std::ssize(pieces) < most) {
    const std::size_t at =
        from_right ? (end < sep.size() ? bytes.npos : bytes.rfind(sep, end - sep.size()))
                   : bytes.find(sep, begin);
    if (at == bytes.npos) break;
    in.charge(2);
    pieces.push_back(in.make_text(from_right ? text.substr(at + sep.size(), end - at - sep.size())
                                             : text.substr(begin, at - begin)));
    (from_right ? end : begin) = from_right ? at : at + sep.size();
  }
  pieces.push_back(in.make_text(text.substr(begin, end - begin)));
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return Value::list(std::move(pieces));
}
Value split(In& in, const Value& r, const Args& a) { return split_by(in, r, a, false); }
Value right_split(In& in, const Value& r, const Args& a) { return split_by(in, r, a, true); }

Value split_lines(In& in, const Value& receiver, const Args& args) {
  const Text& text = own(receiver);
  const bool keeps = args.get(0, "keepends", Value::of(false)).is_true();
  std::vector<Value> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text.bytes(), at);
    const std::size_t end = at;
    at += point.length;
    if (!is_line_end(point.value)) continue;
    if (point.value == '\r' && at < text.size() && text.bytes()[at] == '\n') ++at;
    in.charge(2);
    lines.push_back(in.make_text(text.substr(begin, (keeps ? at : end) - begin)));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(in.make_text(text.substr(begin)));
  return Value::list(std::move(lines));
}

template <typename Fits>
bool fits_any(In& in, const Value& wanted, std::string_view of, Fits&& fits) {
  const List* several = wanted.as_list();
  if (several == nullptr) return fits(in.need_text(wanted, of).bytes());
  return std::any_of(several->items.begin(), several->items.end(),
                     [&](const Value& one) { return fits(in.need_text(one, of).bytes()); });
}
Value starts_with(In& in, const Value& r, const Args& args) {
  return Value::of(fits_any(in, args.get(0, ""), "startswith",
                            [&](const std::string& s) { return own(r).bytes().starts_with(s); }));
}
Value ends_with(In& in, const Value& r, const Args& args) {
  return Value::of(fits_any(in, args.get(0, ""), "endswith",
                            [&](const std::string& s) { return own(r).bytes().ends_with(s); }));
}

Value remove_prefix(In& in, const Value& r, const Args& args) {
  const std::string& prefix = in.need_text(args.get(0, ""), "removeprefix").bytes();
  return own(r).bytes().starts_with(prefix) ? in.make_text(own(r).substr(prefix.size())) : r;
}
Value remove_suffix(In& in, const Value& r, const Args& args) {
  const std::string& suffix = in.need_text(args.get(0, ""), "removesuffix").bytes();
  return own(r).bytes().ends_with(suffix)
             ? in.make_text(own(r).substr(0, own(r).size() - suffix.size()))
             : r;
}

Value replace(In& in, const Value& r, const Args& args) {
  const Text& text = own(r);
  const std::string& old = in.need_text(args.get(0, "old"), "replace").bytes();
  const Text& other = in.need_text(args.get(1, "new"), "replace");
  std::int64_t left = in.need_int(args.get(2, "count", Value::of(std::int64_t{-1})), "replace");
  Text out;
  std::size_t begin = 0;
  in.charge(std::ssize(text.bytes()) / 16);
  const auto add = [&](std::size_t end) {
    out.append(text.substr(begin, end - begin)).append(other);
    in.charge(1 + static_cast<std::int64_t>(other.size() / 16));
    if (out.size() > in.text_limit()) in.fail("replace: a text too long");
  };
  if (old.empty()) {  // before each character and at the end
    const std::vector<std::size_t> starts = code_point_starts(text.bytes());
    for (std::size_t i = 0; i < starts.size() && left != 0; ++i, --left) {
      add(starts[i]);
      begin = starts[i];
    }
  } else {
    for (; left != 0; --left) {
      const std::size_t at = text.bytes().find(old, begin);
      if (at == std::string::npos) break;
      add(at);
      begin = at + old.size();
    }
  }
  return in.make_text(out.append(text.substr(begin)));
}

std::int64_t code_point_index(const std::string& bytes, std::size_t at) {
  return at == std::string::npos
             ? -1
             : static_cast<std::int64_t>(count_code_points(std::string_view(bytes).substr(0, at)));
}
Value find(In& in, const Value& r, const Args& args) {
  const std::string& bytes = own(r).bytes();
  in.charge(std::ssize(bytes) / 16);
  return Value::of(
      code_point_index(bytes, bytes.find(in.need_text(args.get(0, ""), "find").bytes())));
}
Value right_find(In& in, const Value& r, const Args& args) {
  const std::string& bytes = own(r).bytes();
  in.charge(std::ssize(bytes) / 16);
  return Value::of(
      code_point_index(bytes, bytes.rfind(in.need_text(args.get(0, ""), "rfind").bytes())));
}
Value index(In& in, const Value& r, const Args& args) {
  if (const List* list = r.as_list()) {
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      if (in.are_equal(list->items[i], args.get(0, "")))
        return Value::of(static_cast<std::int64_t>(i));
    }
    in.fail("index: not in the list");
  }
  Value at = find(in, r, args);
  if (*at.as_int() < 0) in.fail("index: not in the text");
  return at;
}
Value count(In& in, const Value& r, const Args& args) {
  std::int64_t n = 0;
  if (const List* list = r.as_list()) {
    for (const Value& item : list->items) n += in.are_equal(item, args.get(0, "")) ? 1 : 0;
    return Value::of(n);
  }
  const std::string& bytes = own(r).bytes();
  const std::string& wanted = in.need_text(args.get(0, ""), "count").bytes();
  in.charge(std::ssize(bytes) / 16);
  if (wanted.empty()) return Value::of(static_cast<std::int64_t>(count_code_points(bytes)) + 1);
  for (std::size_t at = bytes.find(wanted); at != bytes.npos;
       at = bytes.find(wanted, at + wanted.size()))
    ++n;
  return Value::of(n);
}

Value upper(In& in, const Value& r, const Args& args) { return find_filter("upper")(in, r, args); }
Value lower(In& in, const Value& r, const Args& args) { return find_filter("lower")(in, r, args); }
Value capitalize(In& in, const Value& r, const Args& args) {
  return find_filter("capitalize")(in, r, args);
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
Value title(In& in, const Value& r, const Args&) {
  std::string bytes = ascii_lower(own(r).bytes());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 0 || !is_letter(bytes[i - 1])) bytes[i] = ascii_upper(bytes.substr(i, 1))[0];
  }
  return in.make_text(own(r).with_bytes(std::move(bytes)));
}

template <typename Fits>
bool all_bytes(const Value& r, Fits&& fits) {
  const std::string& bytes = own(r).bytes();
  return !bytes.empty() && std::all_of(bytes.begin(), bytes.end(), fits);
}
Value is_digits(In&, const Value& r, const Args&) { return Value::of(all_bytes(r, is_digit)); }
Value is_letters(In&, const Value& r, const Args&) { return Value::of(all_bytes(r, is_letter)); }
Value is_letters_or_digits(In&, const Value& r, const Args&) {
  return Value::of(all_bytes(r, [](char c) { return is_letter(c) || is_digit(c); }));
}
Value is_all_space(In&, const Value& r, const Args&) {
  const Range rest = stripped(own(r).bytes(), true, true);
  return Value::of(!own(r).empty() && rest.begin == rest.end);
}
Value is_upper(In& in, const Value& r, const Args&) {
  return Value::of(in.apply_test("upper", r, {}));
}
Value is_lower(In& in, const Value& r, const Args&) {
  return Value::of(in.apply_test("lower", r, {}));
}

Value join(In& in, const Value& r, const Args& args) {
  const Value list = args.get(0, "");
  for (const Value& item : list.is_list() ? list.as_list()->items : std::vector<Value>())
    in.need_text(item, "join");
  return find_filter("join")(in, list, {.positional = {r}, .named = {}});
}

// str.format() with {}, {0} and {name}; nothing behind a colon.
Value format(In& in, const Value& r, const Args& args) {
  const Text& text = own(r);
  const std::string& bytes = text.bytes();
  Text out;
  std::size_t next = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const bool is_double = at + 1 < bytes.size() && bytes[at] == bytes[at + 1];
    if ((bytes[at] != '{' && bytes[at] != '}') || is_double) {
      out.append(text.substr(at, 1));
      at += is_double && (bytes[at] == '{' || bytes[at] == '}') ? 2 : 1;
      continue;
    }
    const std::size_t end = bytes.find('}', at);
    if (bytes[at] == '}' || end == bytes.npos) in.fail("format: a brace without its other");
    const std::string name = bytes.substr(at + 1, end - at - 1);
    if (name.find_first_of("{:!.[") != name.npos) in.fail("format: want plain places only");
    const bool is_place = name.find_first_not_of("0123456789") == name.npos && name.size() < 4;
    const std::size_t place = !is_place      ? args.positional.size()
                              : name.empty() ? next++
                                             : std::stoul(name);
    const Value* value = args.find(place, name);
    if (value == nullptr) in.fail(fmt::format("format: no value for '{}'", name.substr(0, 40)));
    out.append(in.text_of(*value));
    if (out.size() > in.text_limit()) in.fail("format: a text too long");
    at = end + 1;
  }
  return in.make_text(std::move(out));
}

Value dict_items(In& in, const Value& r, const Args&) {
  std::vector<Value> pairs;
  in.charge(4 * std::ssize(r.as_dict()->entries));
  for (const auto& [key, value] : r.as_dict()->entries) pairs.push_back(Value::tuple({key, value}));
  return Value::list(std::move(pairs));
}
Value dict_keys(In& in, const Value& r, const Args&) { return Value::list(in.items_of(r)); }
Value dict_values(In& in, const Value& r, const Args&) {
  std::vector<Value> values;
  in.charge(std::ssize(r.as_dict()->entries));
  for (const auto& entry : r.as_dict()->entries) values.push_back(entry.second);
  return Value::list(std::move(values));
}
Value dict_get(In& in, const Value& r, const Args& args) {
  in.charge(1 + std::ssize(r.as_dict()->entries) / 16);
  const Value* found = r.as_dict()->find(args.get(0, "key"));
  return found != nullptr ? *found : args.get(1, "default");
}
Value dict_copy(In&, const Value& r, const Args&) { return r; }
Value no_change(In& in, const Value&, const Args&) {
  in.fail("lists and objects cannot be changed by templates");
}

// Functions.

Value raise_exception(In& in, const Value&, const Args& args) {
  in.fail(in.text_of(args.get(0, "message")).bytes().substr(0, 500));
}

Value strftime_now(In& in, const Value&, const Args& args) {
  const std::string format = in.need_text(args.get(0, "format"), "strftime_now").bytes();
  if (format.size() > 256) in.fail("strftime_now: want a format of at most 256 bytes");
  if (format.empty()) return Value::text("", Origin::kTemplate);
  const std::tm now = in.now();
  std::string out(4096, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &now));
  return in.make_text(std::move(out), Origin::kTemplate);
}

Value range(In& in, const Value&, const Args& args) {
  const auto part = [&](std::size_t i) { return in.need_int(args.positional[i], "range"); };
  const std::size_t n = args.positional.size();
  if (n < 1 || n > 3) in.fail("range: want 1 to 3 numbers");
  const std::int64_t first = n == 1 ? 0 : part(0), last = n == 1 ? part(0) : part(1);
  const std::int64_t step = n == 3 ? part(2) : 1;
  if (step == 0) in.fail("range: want a step that is not 0");
  std::vector<Value> numbers;
  for (std::int64_t i = first; step > 0 ? i < last : i > last;) {
    if (numbers.size() >= 100'000) in.fail("range: want at most 100000 numbers");
    in.charge(1);
    numbers.push_back(Value::of(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value::list(std::move(numbers));
}

Value dict(In& in, const Value&, const Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  if (!args.positional.empty()) {
    const Dict* given = args.positional[0].as_dict();
    if (given == nullptr) in.fail("dict: want an object or names");
    entries = given->entries;
  }
  for (const auto& [name, value] : args.named) {
    entries.emplace_back(Value::text(name, Origin::kTemplate), value);
  }
  return Value::dict(std::move(entries));
}

using Methods = std::map<std::string_view, Function::Builtin>;

const Methods& text_methods() {
  static const Methods kMethods = {
      {"strip", strip},
      {"lstrip", left_strip},
      {"rstrip", right_strip},
      {"split", split},
      {"rsplit", right_split},
      {"splitlines", split_lines},
      {"startswith", starts_with},
      {"endswith", ends_with},
      {"removeprefix", remove_prefix},
      {"removesuffix", remove_suffix},
      {"replace", replace},
      {"find", find},
      {"rfind", right_find},
      {"index", index},
      {"count", count},
      {"upper", upper},
      {"lower", lower},
      {"capitalize", capitalize},
      {"title", title},
      {"isdigit", is_digits},
      {"isnumeric", is_digits},
      {"isdecimal", is_digits},
      {"isalpha", is_letters},
      {"isalnum", is_letters_or_digits},
      {"isspace", is_all_space},
      {"isupper", is_upper},
      {"islower", is_lower},
      {"join", join},
      {"format", format},
  };
  return kMethods;
}

const Methods& list_methods() {
  static const Methods kMethods = {{"index", index},      {"count", count},   {"append", no_change},
                                   {"extend", no_change}, {"pop", no_change}, {"insert", no_change},
                                   {"remove", no_change}, {"sort", no_change}};
  return kMethods;
}

const Methods& dict_methods() {
  static const Methods kMethods = {
      {"items", dict_items}, {"keys", dict_keys},  {"values", dict_values},
      {"get", dict_get},     {"copy", dict_copy},  {"update", no_change},
      {"pop", no_change},    {"clear", no_change}, {"setdefault", no_change}};
  return kMethods;
}

}  // namespace

// Has access to the interpreter's own objects.
struct Globals {
  static Value make_namespace(In& in, const Value&, const Args& args) {
    in.charge(16);
    Namespace& space = in.namespaces_.emplace_back();
    const Value given = args.get(0, "");
    const Dict* dict = args.positional.empty() ? nullptr : given.as_dict();
    if (!args.positional.empty() && dict == nullptr) in.fail("namespace: want names");
    if (dict != nullptr) {
      for (const auto& [key, value] : dict->entries) {
        space.names.emplace_back(in.need_text(key, "namespace").bytes(), value);
      }
    }
    for (const auto& [name, value] : args.named) space.names.emplace_back(name, value);
    return Value::of(&space);
  }
};

std::tm Interpreter::now() const {
  if (now_) return *now_;
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local = {};
  localtime_r(&seconds, &local);
  return local;
}

Function::Builtin find_global(std::string_view name) {
  static const Methods kGlobals = {{"raise_exception", raise_exception},
                                   {"strftime_now", strftime_now},
                                   {"range", range},
                                   {"dict", dict},
                                   {"namespace", Globals::make_namespace}};
  const auto found = kGlobals.find(name);
  return found == kGlobals.end() ? nullptr : found->second;
}

Function::Builtin find_method(const Value& object, std::string_view name) {
  const Methods* methods = object.is_text()   ? &text_methods()
                           : object.is_list() ? &list_methods()
                           : object.is_dict() ? &dict_methods()
                                              : nullptr;
  if (methods == nullptr) return nullptr;
  const auto found = methods->find(name);
  return found == methods->end() ? nullptr : found->second;
}

}  // namespace runnel::jinja
