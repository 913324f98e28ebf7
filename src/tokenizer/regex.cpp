#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "base/utf8.h"

namespace runnel {
namespace {

constexpr std::size_t kGiveUpBytes = 4096;  // passed over when a match takes too long

template <typename T, void (*kFree)(T*)>
struct Freed {
  void operator()(T* object) const { kFree(object); }
};
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data, pcre2_match_data_free>>;
using MatchContext =
    std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context, pcre2_match_context_free>>;

// PCRE2's \s also holds U+180E, which Unicode no longer counts as white space.
std::string with_white_space_property(std::string_view pattern) {
  std::string text;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view two = pattern.substr(i, 2);
    if (two == "\\s" || two == "\\S") {
      text += two == "\\s" ? "\\p{White_Space}" : "\\P{White_Space}";
      ++i;
    } else if (two.size() == 2 && two[0] == '\\') {
      text += two;
      ++i;
    } else {
      text += pattern[i];
    }
  }
  return text;
}

// The patterns take time linear in the text, so a limit that grows with it only stops a surprise.
MatchContext context_for(std::string_view text) {
  MatchContext context(pcre2_match_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
  const std::size_t limit = std::min(kMost, 10'000'000 + 16 * text.size());
  pcre2_set_match_limit(context.get(), static_cast<std::uint32_t>(limit));
  return context;
}

// The end of at most kGiveUpBytes of text from `at`, between two characters.
std::size_t give_up_to(std::string_view text, std::size_t at) {
  const std::string_view passed = text.substr(at, kGiveUpBytes);
  return at + passed.size() - static_cast<std::size_t>(utf8_unfinished_tail(passed));
}

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Regex::Regex(std::string_view pattern) {
  const std::string text = with_white_space_property(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                            nullptr));
  if (!code_) {
    throw std::logic_error("pattern refused at " + std::to_string(offset) + ": " + text);
  }
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where this fails, matching is only slower
}

void Regex::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  const MatchContext context = context_for(text);
  const MatchData match(pcre2_match_data_create(1, nullptr));
  if (!match) throw std::bad_alloc();
  const auto push = [&](std::size_t begin, std::size_t end) {
    if (begin < end) pieces.push_back(text.substr(begin, end - begin));
  };
  std::size_t at = 0;
  while (at < text.size()) {
    const int found =
        pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      const std::size_t end = give_up_to(text, at);
      push(at, end);
      at = end;
      continue;
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    push(at, range[0]);
    push(range[0], range[1]);
    at = range[1];
  }
  push(at, text.size());
}

}  // namespace runnel
