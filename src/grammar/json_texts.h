// The parts that all JSON has: strings, numbers, white space, any value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "grammar/grammar.h"

namespace runnel {

class JsonTexts {
 public:
  explicit JsonTexts(Grammar& grammar);

  Grammar::Part space() const { return grammar_.rule(space_); }    // behind '{', '[' and ','
  Grammar::Part gap() const { return grammar_.rule(gap_); }        // behind ':'
  Grammar::Part string() const { return grammar_.rule(string_); }  // with its quotes
  Grammar::Part integer() const { return grammar_.rule(integer_); }
  Grammar::Part number() const { return grammar_.rule(number_); }
  Grammar::Part any() const { return grammar_.rule(any_); }
  Grammar::Part any_object() const { return grammar_.rule(object_); }
  Grammar::Part any_array() const { return grammar_.rule(array_); }
  // Characters counted as code points.
  Grammar::Part string_of(int least, int most);
  // Dates and such: "date", "time", "date-time", "uuid"; nullopt: another one.
  std::optional<Grammar::Part> string_of_format(const std::string& format);
  Grammar::Part integer_between(std::optional<std::int64_t> least,
                                std::optional<std::int64_t> most);

  // Members of an object or elements of an array, any number of them, with all around them.
  Grammar::Part object_of(Grammar::Part value);
  Grammar::Part array_of(Grammar::Part value, int least, int most);

 private:
  Grammar::Part set(std::string_view characters);
  Grammar::Part range(unsigned first, unsigned last);
  Grammar::Part digits(int least, int most);
  Grammar::Rule make_character();
  void make_numbers();
  void add_natural(std::string_view least, std::string_view most, bool is_free_below,
                   bool is_free_above, const Grammar::Sequence& before, Grammar::Rule out);
  void add_naturals(std::int64_t least, std::int64_t most, const Grammar::Sequence& before,
                    Grammar::Rule out);

  Grammar& grammar_;
  Grammar::Rule space_, gap_, character_, string_, integer_, number_, any_, object_, array_;
};

}  // namespace runnel
