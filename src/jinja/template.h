// The part of the Jinja language that chat templates use, interpreted as Python's jinja2 does with
// transformers' settings (sandboxed and immutable, trim_blocks, lstrip_blocks, loop controls,
// {% generation %}, tojson without HTML escapes, raise_exception, strftime_now).
//
// `safe` counts in sums ('+') only. Left out, and refused by name: include, import, extends,
// block, recursive loops, arguments with
// '*'. Letter case is changed for ASCII only. Whole numbers have 64 bits.
//
// A template comes out of a file that nobody vouches for: size, depth, steps and bytes are limited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/syntax.h"
#include "jinja/text.h"
#include "jinja/value.h"

namespace runnel::jinja {

struct Limits {
  std::int64_t steps = 10'000'000;     // parts evaluated; 16 bytes handled count as one
  std::size_t text_bytes = 32u << 20;  // of any text made on the way
  int depth = 400;                     // statements, expressions and macros in each other
};

constexpr std::size_t kLargestTemplate = 1u << 20;  // bytes of source

using Variables = std::vector<std::pair<std::string, Value>>;

class Template {
 public:
  // Error: not a template, or larger than kLargestTemplate; with the line.
  static Template parse(std::string_view source);

  // `now`: what strftime_now sees; the clock's time unless given. Error: what the template raises,
  // does wrong, or a limit; with the line. May run on several threads at once.
  Text render(const Variables& variables, const Limits& limits = {},
              std::optional<std::tm> now = std::nullopt) const;

 private:
  explicit Template(Block body) : body_(std::move(body)) {}
  Block body_;
};

}  // namespace runnel::jinja
