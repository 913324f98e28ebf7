// The merging of byte pair encoding, shared by both kinds of tokenizer: of all neighbours that the
// table joins, the pair of lowest rank (leftmost among equals) is joined first, until none is left.
// A heap of candidates over a linked list: n log n in the length of the word.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

namespace runnel {

namespace gguf {
class File;
}

// A line of a file's list of merges, views of the mapped file.
struct ListedMerge {
  std::string_view left, right;
};

// tokenizer.ggml.merges, by rank. Error: a line that is not two pieces and a space between them.
std::vector<ListedMerge> listed_merges(const gguf::File& file);

// What may be joined. Symbols are non-negative ids chosen by the tokenizer.
class MergeTable {
 public:
  struct Merge {
    int rank;    // lower is joined earlier
    int merged;  // the symbol that replaces the two
  };

  void reserve(std::size_t n_merges) { resize(n_merges + n_merges / 2 + 16); }
  // The first rule for a pair stays.
  void add(int left, int right, Merge merge);
  const Merge* find(int left, int right) const;  // nullptr when the two are not joined

 private:
  struct Entry {
    std::uint64_t key = kFree;
    Merge merge{};
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};  // no pair's: symbols are not negative
  std::size_t place_of(std::uint64_t key) const;  // the pair's entry, or the free one for it
  void resize(std::size_t n_least);               // entries
  static std::uint64_t key(int left, int right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::vector<Entry> entries_;  // open addressing: a power of two, at most 3/4 of them taken
  std::size_t n_taken_ = 0;
};

// Joins words one after another and keeps its buffers between them. Borrows the table.
class Merger {
 public:
  explicit Merger(const MergeTable& table) : table_(&table) {}
  // Replaces the symbols of a word (fewer than 2^31) by the joined ones. Negative symbols are never
  // joined.
  void merge(std::vector<int>& word);

 private:
  struct Symbol {
    int id;
    int previous, next;  // -1 at the ends
  };
  // A pair that was found joinable: its rank above the place of its left symbol, so that the least
  // is the next to join. When the symbols there have changed since, the rank shows it.
  using Candidate = std::uint64_t;
  const MergeTable::Merge* joinable(int left) const;
  void consider(int left);
  void join(int left, int merged);

  const MergeTable* table_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace runnel
