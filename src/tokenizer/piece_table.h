// Numbers by text, for the hundred thousands of pieces of a vocabulary: open addressing in one
// block, because a map with a node for each makes loading slow. Borrows the texts.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

namespace runnel {

class PieceTable {
 public:
  static constexpr int kNone = -1;

  void reserve(std::size_t n_texts) { resize(std::bit_ceil(n_texts + n_texts / 2 + 16)); }
  // False: the text has a number already, which stays. `number` is not negative.
  bool add(std::string_view text, int number);
  int find(std::string_view text) const;  // kNone: it has no number

 private:
  struct Entry {
    const char* text = nullptr;
    std::uint32_t n_bytes = 0;
    int number = kNone;
    std::string_view view() const { return {text, n_bytes}; }
  };
  // The entry with the text, or the free one where it belongs; and a byte of the text's hash.
  struct Place {
    std::size_t index;
    std::uint8_t tag;
  };
  static constexpr std::uint8_t kFree = 0;
  Place place_of(std::string_view text) const;
  void put(const Entry& entry, Place place);
  void resize(std::size_t n_entries);

  std::vector<Entry> entries_;  // a power of two, at most three quarters of them taken
  // One for each entry, so that most texts without a number are told from a table that is in cache.
  std::vector<std::uint8_t> tags_;
  std::size_t n_taken_ = 0;
};

}  // namespace runnel
