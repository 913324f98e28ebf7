// Remembers how the words of one text were encoded, as places in the tokens already written: a word
// met again is copied from there. Lives within one encode() call; borrows the text.
#pragma once

#include <cstddef>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runnel/options.h"

namespace runnel {

class WordCache {
 public:
  // Appends the word's tokens and returns true when it is known.
  bool replay(std::string_view word, std::vector<Token>& tokens) const {
    const auto found = words_.find(word);
    if (found == words_.end()) return false;
    const Place place = found->second;
    for (std::size_t i = 0; i < place.count; ++i) tokens.push_back(tokens[place.first + i]);
    return true;
  }

  // The word's tokens are the last ones, from `first` on.
  void remember(std::string_view word, std::size_t first, const std::vector<Token>& tokens) {
    if (word.size() <= kLongestWord && words_.size() < kMostWords) {
      words_.emplace(word, Place{first, tokens.size() - first});
    }
  }

 private:
  static constexpr std::size_t kLongestWord = 64;  // bytes; longer ones hardly ever come back
  static constexpr std::size_t kMostWords = 1 << 16;
  struct Place {
    std::size_t first, count;
  };
  std::unordered_map<std::string_view, Place> words_;
};

}  // namespace runnel
