#include "grammar/json_texts.h"

#include <algorithm>

namespace runnel {
namespace {

using Part = Grammar::Part;
using Sequence = Grammar::Sequence;

void append(const Sequence& more, Sequence& sequence) {
  for (const Part& part : more) sequence.push_back(part);
}

constexpr std::int64_t kLargestInteger = 999'999'999'999'999;  // exact in every reader

}  // namespace

JsonTexts::JsonTexts(Grammar& grammar) : grammar_(grammar) {
  Grammar& g = grammar_;
  const Sequence indent = {g.byte('\n'), g.rule(g.repeat({set(" \t")}, 0, 24))};
  space_ = g.choice({{}, {g.byte(' ')}, indent});
  gap_ = g.choice({{}, {g.byte(' ')}});
  character_ = make_character();
  string_ = g.choice({{g.byte('"'), g.rule(g.repeat({g.rule(character_)}, 0, -1)), g.byte('"')}});
  make_numbers();
  any_ = g.declare();
  object_ = object_of(any()).index;
  array_ = array_of(any(), 0, -1).index;
  for (const Part& part : {string(), number(), any_object(), any_array()}) g.add(any_, {part});
  for (const char* word : {"true", "false", "null"}) g.add(any_, g.literal(word));
}

Part JsonTexts::set(std::string_view characters) {
  ByteSet bytes;
  for (const char c : characters) bytes.set(static_cast<unsigned char>(c));
  return grammar_.bytes(bytes);
}

Part JsonTexts::range(unsigned first, unsigned last) {
  ByteSet bytes;
  for (unsigned byte = first; byte <= last; ++byte) bytes.set(byte);
  return grammar_.bytes(bytes);
}

Part JsonTexts::digits(int least, int most) {
  return grammar_.rule(grammar_.repeat({range('0', '9')}, least, most));
}

// A character of a string: UTF-8 as the Unicode standard has it (section 3.9), or an escape; halves
// of a pair of escapes never stand alone.
Grammar::Rule JsonTexts::make_character() {
  Grammar& g = grammar_;
  ByteSet plain;
  for (unsigned byte = 0x20; byte < 0x80; ++byte)
    plain.set(byte, byte != '"' && byte != '\\' && byte != 0x7F);
  const Part tail = range(0x80, 0xBF), hex = set("0123456789abcdefABCDEF");
  const Part backslash = g.byte('\\'), u = g.byte('u'), d = set("dD");
  return g.choice({
      {g.bytes(plain)},
      {range(0xC2, 0xDF), tail},
      {range(0xE0, 0xE0), range(0xA0, 0xBF), tail},
      {range(0xE1, 0xEC), tail, tail},
      {range(0xED, 0xED), range(0x80, 0x9F), tail},
      {range(0xEE, 0xEF), tail, tail},
      {range(0xF0, 0xF0), range(0x90, 0xBF), tail, tail},
      {range(0xF1, 0xF3), tail, tail, tail},
      {range(0xF4, 0xF4), range(0x80, 0x8F), tail, tail},
      {backslash, set("\"\\/bfnrt")},
      {backslash, u, set("0123456789abcefABCEF"), hex, hex, hex},
      {backslash, u, d, set("01234567"), hex, hex},
      {backslash, u, d, set("89abAB"), hex, hex, backslash, u, d, set("cdefCDEF"), hex, hex},
  });
}

void JsonTexts::make_numbers() {
  Grammar& g = grammar_;
  const Part minus = g.rule(g.choice({{}, {g.byte('-')}}));
  const Grammar::Rule natural = g.choice({{g.byte('0')}, {range('1', '9'), digits(0, 14)}});
  const Part fraction = g.rule(g.choice({{}, {g.byte('.'), digits(1, 16)}}));
  const Part sign = g.rule(g.choice({{}, {set("+-")}}));
  const Part exponent = g.rule(g.choice({{}, {set("eE"), sign, digits(1, 2)}}));
  integer_ = g.choice({{minus, g.rule(natural)}});
  number_ = g.choice({{minus, g.rule(natural), fraction, exponent}});
}

Part JsonTexts::string_of(int least, int most) {
  if (least <= 0 && most < 0) return string();
  const Part inner = grammar_.rule(grammar_.repeat({grammar_.rule(character_)}, least, most));
  return grammar_.rule(grammar_.choice({{grammar_.byte('"'), inner, grammar_.byte('"')}}));
}

std::optional<Part> JsonTexts::string_of_format(const std::string& format) {
  Grammar& g = grammar_;
  const auto two = [&](char low, char high, char last_high_digit) {  // low0 to high.last
    Grammar::Rule rule = g.declare();
    if (high > low)
      g.add(rule, {range(static_cast<unsigned char>(low), static_cast<unsigned char>(high - 1)),
                   range('0', '9')});
    g.add(rule, {g.byte(high), range('0', static_cast<unsigned char>(last_high_digit))});
    return g.rule(rule);
  };
  const Part month =
      g.rule(g.choice({{g.byte('0'), range('1', '9')}, {g.byte('1'), range('0', '2')}}));
  // Up to 28, so that every month has the day.
  const Part day = g.rule(g.choice({{g.byte('0'), range('1', '9')},
                                    {g.byte('1'), range('0', '9')},
                                    {g.byte('2'), range('0', '8')}}));
  const Part dash = g.byte('-'), colon = g.byte(':'), quote = g.byte('"');
  const Part year = g.rule(g.choice({{set("12"), digits(3, 3)}}));
  const Part date = g.rule(g.choice({{year, dash, month, dash, day}}));
  const Part hour = two('0', '2', '3'), sixty = two('0', '5', '9');
  const Part zone = g.rule(g.choice({{g.byte('Z')}, {set("+-"), hour, colon, sixty}}));
  const Part fraction = g.rule(g.choice({{}, {g.byte('.'), digits(1, 6)}}));
  const Part time = g.rule(g.choice({{hour, colon, sixty, colon, sixty, fraction, zone}}));
  const Part hex = set("0123456789abcdef");
  const auto hexes = [&](int n) { return g.rule(g.repeat({hex}, n, n)); };
  Sequence inner;
  if (format == "date") inner = {date};
  if (format == "time") inner = {time};
  if (format == "date-time") inner = {date, g.byte('T'), time};
  if (format == "uuid")
    inner = {hexes(8), dash, hexes(4), dash, hexes(4), dash, hexes(4), dash, hexes(12)};
  if (inner.empty()) return std::nullopt;
  Sequence whole;
  append({quote}, whole);
  append(inner, whole);
  append({quote}, whole);
  return g.rule(g.choice({whole}));
}

// Numbers of as many digits as both bounds have: the digits that both share, then a digit between,
// then any; at the bounds' own digits on along them.
void JsonTexts::add_natural(std::string_view least, std::string_view most, bool is_free_below,
                            bool is_free_above, const Sequence& before, Grammar::Rule out) {
  Grammar& g = grammar_;
  const auto n = static_cast<int>(least.size());
  if (n == 0) return g.add(out, before);
  if (is_free_below && is_free_above) {
    Sequence sequence = before;
    sequence.push_back(digits(n, n));
    return g.add(out, sequence);
  }
  const char low = is_free_below ? '0' : least[0], high = is_free_above ? '9' : most[0];
  const auto go_on = [&](char first, char last, bool below, bool above) {
    if (first > last) return;
    Sequence sequence = before;
    sequence.push_back(range(static_cast<unsigned char>(first), static_cast<unsigned char>(last)));
    add_natural(least.substr(1), most.substr(1), below, above, sequence, out);
  };
  if (low == high) return go_on(low, low, is_free_below, is_free_above);
  if (!is_free_below) go_on(low, low, false, true);
  go_on(is_free_below ? low : static_cast<char>(low + 1),
        is_free_above ? high : static_cast<char>(high - 1), true, true);
  if (!is_free_above) go_on(high, high, true, false);
}

void JsonTexts::add_naturals(std::int64_t least, std::int64_t most, const Sequence& before,
                             Grammar::Rule out) {
  for (std::int64_t first = least; first <= most;) {
    const std::size_t n_digits = std::to_string(first).size();
    std::int64_t last = 9;
    for (std::size_t i = 1; i < n_digits; ++i) last = last * 10 + 9;
    last = std::min(last, most);
    add_natural(std::to_string(first), std::to_string(last), false, false, before, out);
    first = last + 1;
  }
}

Part JsonTexts::integer_between(std::optional<std::int64_t> least,
                                std::optional<std::int64_t> most) {
  if (!least && !most) return integer();
  const std::int64_t low = std::max(least.value_or(-kLargestInteger), -kLargestInteger);
  const std::int64_t high = std::min(most.value_or(kLargestInteger), kLargestInteger);
  const Grammar::Rule rule = grammar_.declare();
  if (low <= high) {
    if (high >= 0) add_naturals(std::max<std::int64_t>(low, 0), high, {}, rule);
    if (low < 0) {
      add_naturals(std::max<std::int64_t>(-high, 1), -low, {grammar_.byte('-')}, rule);
    }
  }
  return grammar_.rule(rule);
}

Part JsonTexts::object_of(Part value) {
  Grammar& g = grammar_;
  const Sequence member = {string(), g.byte(':'), gap(), value};
  Sequence more = {g.byte(','), space()};
  append(member, more);
  const Part rest = g.rule(g.repeat(more, 0, -1));
  Sequence full = {g.byte('{'), space()};
  append(member, full);
  append({rest, space(), g.byte('}')}, full);
  return g.rule(g.choice({g.literal("{}"), full}));
}

Part JsonTexts::array_of(Part value, int least, int most) {
  Grammar& g = grammar_;
  Sequence full = {g.byte('['), space(), value};
  full.push_back(g.rule(
      g.repeat({g.byte(','), space(), value}, std::max(least - 1, 0), most < 0 ? -1 : most - 1)));
  append({space(), g.byte(']')}, full);
  std::vector<Sequence> ways;
  if (least <= 0) ways.push_back(g.literal("[]"));
  if (most != 0) ways.push_back(full);
  return g.rule(g.choice(ways));
}

}  // namespace runnel
