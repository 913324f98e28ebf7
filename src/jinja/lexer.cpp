#include "jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

#include "base/utf8.h"
#include "jinja/unicode.h"
#include "runnel/error.h"

namespace runnel::jinja {
namespace {

constexpr std::array<std::string_view, 28> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "(", ")",
    "[",  "]",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", "!", "&"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string with_plain_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    const bool is_pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (is_pair) ++i;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(with_plain_newlines(source)) {}

  std::vector<Lexeme> run() {
    while (at_ < text_.size()) read_data();
    add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("chat template, line {}: {}", line_, what));
  }
  bool has(std::string_view wanted) const { return text_.compare(at_, wanted.size(), wanted) == 0; }
  void add(TokenType type, std::string text) { tokens_.push_back({type, std::move(text), line_}); }
  void go_to(std::size_t place) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(place), '\n'));
    if (place > 0 && place > at_) is_line_start_ = text_[place - 1] == '\n';
    at_ = place;
  }
  void skip_space() {
    std::size_t place = at_;
    while (place < text_.size()) {
      const CodePoint point = code_point_at(text_, place);
      if (!is_space(point.value)) break;
      place += point.length;
    }
    go_to(place);
  }

  // Text up to the next tag, and the tag.
  void read_data() {
    std::size_t tag = text_.find('{', at_);
    while (tag != text_.npos && (tag + 1 >= text_.size() ||
                                 std::string_view("{%#").find(text_[tag + 1]) == std::string::npos))
      tag = text_.find('{', tag + 1);
    if (tag == text_.npos) {
      add_data(at_, text_.size());
      return go_to(text_.size());
    }
    const char kind = text_[tag + 1];
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
    add_data(at_, end_of_data(tag, kind, sign));
    go_to(tag);
    if (kind == '#') return skip_comment();
    go_to(tag + (sign == '-' || sign == '+' ? 3 : 2));
    if (kind == '%' && is_raw()) return;
    add(kind == '{' ? TokenType::kOutputBegin : TokenType::kBlockBegin, "");
    read_tag(kind == '{');
  }

  void add_data(std::size_t begin, std::size_t end) {
    if (end > begin) add(TokenType::kData, text_.substr(begin, end - begin));
  }

  // Without the space before the tag where the tag takes it: "{%-", or a block alone on its line.
  std::size_t end_of_data(std::size_t tag, char kind, char sign) const {
    const std::string_view data = std::string_view(text_).substr(at_, tag - at_);
    if (sign == '-') return at_ + stripped(data, false, true).end;
    if (sign == '+' || kind == '{') return tag;
    const std::size_t newline = data.rfind('\n');
    if (newline == data.npos && !is_line_start_) return tag;
    const std::size_t line = newline == data.npos ? 0 : newline + 1;
    const Range rest = stripped(data.substr(line), true, false);
    return rest.begin == data.size() - line ? at_ + line : tag;
  }

  void skip_comment() {
    const char begin_sign = at_ + 2 < text_.size() ? text_[at_ + 2] : ' ';
    const std::size_t begin = at_ + (begin_sign == '-' || begin_sign == '+' ? 3 : 2);
    const std::size_t end = text_.find("#}", begin);
    if (end == text_.npos) fail("a comment without its end: #}");
    const char sign = end > begin ? text_[end - 1] : ' ';
    go_to(end + 2);
    after_block(sign);
  }

  // What the end of a block or comment takes with it.
  void after_block(char sign) {
    if (sign == '-') return skip_space();
    if (sign != '+' && at_ < text_.size() && text_[at_] == '\n') go_to(at_ + 1);
  }

  // {% raw %} ... {% endraw %}, whole. The place stands behind "{%" and its sign.
  bool is_raw() {
    const std::size_t begin = at_;
    std::size_t place = begin + stripped(std::string_view(text_).substr(begin), true, false).begin;
    if (text_.compare(place, 3, "raw") != 0) return false;
    place += 3;
    place += stripped(std::string_view(text_).substr(place), true, false).begin;
    const bool strips = text_.compare(place, 3, "-%}") == 0;
    if (!strips && text_.compare(place, 2, "%}") != 0) return false;
    go_to(place + (strips ? 3 : 2));
    if (strips) skip_space();
    read_raw();
    return true;
  }

  void read_raw() {
    for (std::size_t tag = text_.find("{%", at_); tag != text_.npos;
         tag = text_.find("{%", tag + 2)) {
      const char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
      std::size_t place = tag + (sign == '-' || sign == '+' ? 3 : 2);
      place += stripped(std::string_view(text_).substr(place), true, false).begin;
      if (text_.compare(place, 6, "endraw") != 0) continue;
      place += 6;
      place += stripped(std::string_view(text_).substr(place), true, false).begin;
      const char end_sign = place < text_.size() ? text_[place] : ' ';
      if (end_sign == '-' || end_sign == '+') ++place;
      if (text_.compare(place, 2, "%}") != 0) continue;
      add_data(at_, end_of_data(tag, '%', sign));
      go_to(place + 2);
      return after_block(end_sign);
    }
    fail("raw without endraw");
  }

  // What stands in a tag, up to its end. Brackets are counted: "}}" may close two objects.
  void read_tag(bool is_output) {
    std::string brackets;
    const std::string_view end = is_output ? "}}" : "%}";
    for (;;) {
      skip_space();
      if (at_ >= text_.size()) fail(fmt::format("a tag without its end: {}", end));
      const bool strips = text_[at_] == '-' && text_.compare(at_ + 1, 2, end) == 0;
      const bool keeps = !is_output && text_[at_] == '+' && text_.compare(at_ + 1, 2, end) == 0;
      if (brackets.empty() && (strips || keeps || has(end))) {
        add(is_output ? TokenType::kOutputEnd : TokenType::kBlockEnd, "");
        go_to(at_ + (strips || keeps ? 3 : 2));
        if (strips) return skip_space();
        if (!is_output) after_block(keeps ? '+' : ' ');
        return;
      }
      read_token(brackets);
    }
  }

  void read_token(std::string& brackets) {
    const char c = text_[at_];
    if (is_digit(c)) return read_number();
    if (is_name(c)) return read_name();
    if (c == '"' || c == '\'') return read_string();
    for (const std::string_view op : kOperators) {
      if (!has(op)) continue;
      if (op == "(" || op == "[" || op == "{") brackets += op;
      if (op == ")" || op == "]" || op == "}") close(op[0], brackets);
      add(TokenType::kOperator, std::string(op));
      return go_to(at_ + op.size());
    }
    fail(fmt::format("unexpected character '{}'", c));
  }

  void close(char closing, std::string& brackets) const {
    const char opening = closing == ')' ? '(' : closing == ']' ? '[' : '{';
    if (brackets.empty() || brackets.back() != opening)
      fail(fmt::format("unexpected '{}'", closing));
    brackets.pop_back();
  }

  void read_name() {
    std::size_t end = at_;
    while (end < text_.size() && is_name(text_[end])) ++end;
    add(TokenType::kName, text_.substr(at_, end - at_));
    go_to(end);
  }

  void read_number() {
    std::size_t end = at_;
    std::string digits;
    const auto take_digits = [&] {
      while (end < text_.size() && (is_digit(text_[end]) || text_[end] == '_')) {
        if (text_[end] != '_') digits += text_[end];
        ++end;
      }
    };
    take_digits();
    bool is_float = false;
    if (end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      is_float = true;
      digits += text_[end++];
      take_digits();
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      const bool has_sign =
          end + 1 < text_.size() && (text_[end + 1] == '+' || text_[end + 1] == '-');
      const std::size_t first = end + (has_sign ? 2 : 1);
      if (first < text_.size() && is_digit(text_[first])) {
        is_float = true;
        digits += text_.substr(end, first - end);
        end = first;
        take_digits();
      }
    }
    add(is_float ? TokenType::kFloat : TokenType::kInt, std::move(digits));
    go_to(end);
  }

  void read_string() {
    const char quote = text_[at_];
    const int line = line_;
    std::string value;
    std::size_t place = at_ + 1;
    for (;; ++place) {
      if (place >= text_.size()) fail("a string without its end");
      if (text_[place] == quote) break;
      if (text_[place] == '\\' && place + 1 < text_.size()) {
        place = read_escape(place + 1, value);
      } else {
        value += text_[place];
      }
    }
    tokens_.push_back({TokenType::kString, std::move(value), line});
    go_to(place + 1);
  }

  // As in Python's string literals; the place of the escape's last character.
  std::size_t read_escape(std::size_t place, std::string& value) const {
    const char c = text_[place];
    constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeant = "\a\b\f\n\r\t\v\\'\"";
    if (const std::size_t found = kLetters.find(c); found != kLetters.npos) {
      value += kMeant[found];
      return place;
    }
    if (c == '\n') return place;
    const std::size_t n_hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (n_hex > 0) {
      add_number(place + 1, n_hex, 16, value);
      return place + n_hex;
    }
    if (c >= '0' && c <= '7') {
      std::size_t n = 1;
      while (n < 3 && place + n < text_.size() && text_[place + n] >= '0' &&
             text_[place + n] <= '7')
        ++n;
      add_number(place, n, 8, value);
      return place + n - 1;
    }
    value += '\\';
    value += c;
    return place;
  }

  void add_number(std::size_t begin, std::size_t n, int base, std::string& value) const {
    const std::string_view digits = std::string_view(text_).substr(begin).substr(0, n);
    std::uint32_t number = 0;
    const char* last = digits.data() + digits.size();
    const auto [end, error] = std::from_chars(digits.data(), last, number, base);
    const bool is_whole = error == std::errc() && end == last && digits.size() == n;
    const bool is_surrogate = number >= 0xD800 && number < 0xE000;
    if (!is_whole || number > 0x10FFFF || is_surrogate) {
      fail("an escape in a string that stands for no character");
    }
    utf8_append(value, number);
  }

  std::string text_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool is_line_start_ = true;
  std::vector<Lexeme> tokens_;
};

}  // namespace

std::vector<Lexeme> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace runnel::jinja
