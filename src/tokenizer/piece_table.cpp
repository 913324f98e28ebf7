#include "tokenizer/piece_table.h"

#include <xxhash.h>

#include <utility>

namespace runnel {

bool PieceTable::add(std::string_view text, int number) {
  if (2 * (n_taken_ + 1) > entries_.size()) reserve(2 * n_taken_);
  const std::uint32_t hash = hash_of(text);
  Entry& entry = entries_[place_of(text, hash)];
  if (entry.number != kNone) return false;
  entry = {text, hash, number};
  ++n_taken_;
  return true;
}

int PieceTable::find(std::string_view text) const {
  if (entries_.empty()) return kNone;
  return entries_[place_of(text, hash_of(text))].number;
}

std::uint32_t PieceTable::hash_of(std::string_view text) {
  return static_cast<std::uint32_t>(XXH3_64bits(text.data(), text.size()));
}

std::size_t PieceTable::place_of(std::string_view text, std::uint32_t hash) const {
  const std::size_t mask = entries_.size() - 1;
  std::size_t place = hash & mask;
  for (;; place = (place + 1) & mask) {
    const Entry& entry = entries_[place];
    if (entry.number == kNone || (entry.hash == hash && entry.text == text)) return place;
  }
}

void PieceTable::resize(std::size_t n_entries) {
  if (n_entries <= entries_.size()) return;
  std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(n_entries));
  for (const Entry& entry : old)
    if (entry.number != kNone) entries_[place_of(entry.text, entry.hash)] = entry;
}

}  // namespace runnel
