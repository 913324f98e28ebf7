// Values as text: str(), repr(), json.dumps(); and JSON as a value.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "jinja/unicode.h"
#include "jinja/value.h"
#include "runnel/error.h"

namespace runnel::jinja {
namespace {

void check_length(const std::string& text, std::size_t limit) {
  if (text.size() > limit) throw Error(fmt::format("text: want at most {} bytes", limit));
}

// A string literal in Python: single quotes, unless only these occur in it.
void add_quoted(std::string_view text, std::string& out) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  out += quote;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    at += point.length;
    const char32_t c = point.value;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += {'\\', static_cast<char>(c)};
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (c < 0x20 || c == 0x7F || (c >= 0x80 && c <= 0xA0) || c == 0xAD) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else if (c != ' ' && (is_space(c) || is_unprintable(c))) {
      out += c > 0xFFFF ? fmt::format("\\U{:08x}", static_cast<unsigned>(c))
                        : fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += text.substr(at - point.length, point.length);
    }
  }
  out += quote;
}

void add_repr(const Value& value, std::size_t limit, std::string& out);

void add_list_repr(const List& list, std::size_t limit, std::string& out) {
  const bool is_tuple = list.kind == Sequence::kTuple;
  out += is_tuple ? '(' : '[';
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    add_repr(list.items[i], limit, out);
  }
  if (is_tuple && list.items.size() == 1) out += ',';
  out += is_tuple ? ')' : ']';
}

void add_dict_repr(const Dict& dict, std::size_t limit, std::string& out) {
  out += '{';
  for (std::size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out += ", ";
    add_repr(dict.entries[i].first, limit, out);
    out += ": ";
    add_repr(dict.entries[i].second, limit, out);
  }
  out += '}';
}

void add_repr(const Value& value, std::size_t limit, std::string& out) {
  check_length(out, limit);
  if (value.is_undefined()) {
    out += "Undefined";
  } else if (value.is_none()) {
    out += "None";
  } else if (value.is_bool()) {
    out += value.is_true() ? "True" : "False";
  } else if (value.is_int()) {
    out += std::to_string(*value.as_int());
  } else if (value.is_float()) {
    out += float_text(*value.as_float());
  } else if (const Text* text = value.as_text()) {
    add_quoted(text->bytes(), out);
  } else if (const List* list = value.as_list(); list && list->kind != Sequence::kGenerator) {
    add_list_repr(*list, limit, out);
  } else if (const Dict* dict = value.as_dict()) {
    add_dict_repr(*dict, limit, out);
  } else {
    out += fmt::format("<{}>", value.type_name());
  }
}

void add_json_text(std::string_view text, bool is_ascii, std::string& out) {
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    const char32_t c = point.value;
    constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
    const std::size_t place = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : kEscaped.npos;
    if (place != kEscaped.npos) {
      out += {'\\', kLetters[place]};
    } else if (c < 0x20 || (is_ascii && c >= 0x7F && c <= 0xFFFF && c != 0x7F)) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else if (is_ascii && c > 0xFFFF) {
      const auto rest = static_cast<unsigned>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else {
      out += text.substr(at, point.length);
    }
    at += point.length;
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, std::size_t limit, std::string& out)
      : style_(style), limit_(limit), out_(out) {}

  void add(const Value& value) {
    check_length(out_, limit_);
    if (value.is_none()) {
      out_ += "null";
    } else if (value.is_bool()) {
      out_ += value.is_true() ? "true" : "false";
    } else if (value.is_int()) {
      out_ += std::to_string(*value.as_int());
    } else if (value.is_float()) {
      add_float(*value.as_float());
    } else if (const Text* text = value.as_text()) {
      add_json_text(text->bytes(), style_.is_ascii, out_);
    } else if (const List* list = value.as_list(); list && list->kind != Sequence::kGenerator) {
      add_list(*list);
    } else if (const Dict* dict = value.as_dict()) {
      add_dict(*dict);
    } else {
      throw Error(fmt::format("tojson: a value of type {} has no form in JSON", value.type_name()));
    }
  }

 private:
  void add_float(double number) {
    if (std::isnan(number)) {
      out_ += "NaN";
    } else {
      out_ += std::isinf(number) ? (number > 0 ? "Infinity" : "-Infinity") : float_text(number);
    }
  }
  void begin_line() {
    if (!style_.has_indent) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += style_.indent;
    check_length(out_, limit_);
  }
  void add_list(const List& list) {
    out_ += '[';
    ++level_;
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += style_.comma;
      begin_line();
      add(list.items[i]);
    }
    --level_;
    if (!list.items.empty()) begin_line();
    out_ += ']';
  }
  static std::string key_text(const Value& key) {
    if (const Text* text = key.as_text()) return text->bytes();
    if (key.is_none()) return "null";
    if (key.is_bool()) return key.is_true() ? "true" : "false";
    if (key.is_int()) return std::to_string(*key.as_int());
    if (key.is_float()) return float_text(*key.as_float());
    throw Error(fmt::format("tojson: a key of type {} has no form in JSON", key.type_name()));
  }
  void add_dict(const Dict& dict) {
    std::vector<std::pair<std::string, const Value*>> entries;
    for (const auto& [key, value] : dict.entries) entries.emplace_back(key_text(key), &value);
    if (style_.sorts_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    out_ += '{';
    ++level_;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.comma;
      begin_line();
      add_json_text(entries[i].first, style_.is_ascii, out_);
      out_ += style_.colon;
      add(*entries[i].second);
    }
    --level_;
    if (!entries.empty()) begin_line();
    out_ += '}';
  }

  const JsonStyle& style_;
  std::size_t limit_;
  std::string& out_;
  int level_ = 0;
};

// Builds a Value while nlohmann's parser goes through the text.
class ValueBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit ValueBuilder(Origin origin) : origin_(origin) {}

  bool null() override { return add(Value::none()); }
  bool boolean(bool value) override { return add(Value::of(value)); }
  bool number_integer(std::int64_t value) override { return add(Value::of(value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (value <= static_cast<std::uint64_t>(INT64_MAX))
      return add(Value::of(static_cast<std::int64_t>(value)));
    return add(Value::of(static_cast<double>(value)));
  }
  bool number_float(double value, const std::string&) override { return add(Value::of(value)); }
  bool string(std::string& value) override { return add(Value::text(std::move(value), origin_)); }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool start_object(std::size_t) override { return begin(true); }
  bool start_array(std::size_t) override { return begin(false); }
  bool key(std::string& name) override {
    open_.back().keys.push_back(Value::text(std::move(name), origin_));
    return true;
  }
  bool end_object() override {
    Open object = std::move(open_.back());
    open_.pop_back();
    std::vector<std::pair<Value, Value>> entries;
    for (std::size_t i = 0; i < object.keys.size(); ++i) {
      entries.emplace_back(std::move(object.keys[i]), std::move(object.items[i]));
    }
    return add(Value::dict(std::move(entries)));
  }
  bool end_array() override {
    Open array = std::move(open_.back());
    open_.pop_back();
    return add(Value::list(std::move(array.items)));
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    throw Error(fmt::format("JSON: not well formed at byte {}", position));
  }

  Value take() { return std::move(result_); }

 private:
  struct Open {
    std::vector<Value> keys, items;
  };
  bool begin(bool) {
    if (open_.size() >= kLargestDepth / 2) {
      throw Error(fmt::format("JSON: want at most {} levels", kLargestDepth / 2));
    }
    open_.emplace_back();
    return true;
  }
  bool add(Value value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  Origin origin_;
  std::vector<Open> open_;
  Value result_;
};

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

Text to_text(const Value& value, std::size_t limit) {
  if (const Text* text = value.as_text()) return *text;
  if (value.is_undefined()) return {};
  return {to_repr(value, limit), Origin::kValue};
}

std::string to_repr(const Value& value, std::size_t limit) {
  std::string out;
  add_repr(value, limit, out);
  check_length(out, limit);
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style, std::size_t limit) {
  std::string out;
  JsonWriter(style, limit, out).add(value);
  check_length(out, limit);
  return out;
}

Value value_from_json(std::string_view json, Origin origin) {
  ValueBuilder builder(origin);
  nlohmann::json::sax_parse(json, &builder);
  return builder.take();
}

}  // namespace runnel::jinja
