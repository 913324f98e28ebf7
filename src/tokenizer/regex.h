// A compiled regular expression (PCRE2, with Unicode classes) that cuts text into pieces.
// Thread-safe once made.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace runnel {

class Regex {
 public:
  // The pattern is one of our own; \s and \S mean the Unicode property White_Space.
  explicit Regex(std::string_view pattern);

  // Appends the pieces of text: each match is one, and so is what lies between two matches. Time is
  // bounded: where matching would take too long, a few kilobytes become one piece and it goes on.
  // Precondition: text is valid UTF-8.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace runnel
