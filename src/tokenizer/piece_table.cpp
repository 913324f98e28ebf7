#include "tokenizer/piece_table.h"

#include <xxhash.h>

#include <utility>

namespace runnel {

bool PieceTable::add(std::string_view text, int number) {
  if (4 * (n_taken_ + 1) > 3 * entries_.size()) reserve(2 * n_taken_);
  Entry& entry = entries_[place_of(text)];
  if (entry.number != kNone) return false;
  entry = {text.data(), static_cast<std::uint32_t>(text.size()), number};
  ++n_taken_;
  return true;
}

int PieceTable::find(std::string_view text) const {
  if (entries_.empty()) return kNone;
  return entries_[place_of(text)].number;
}

std::size_t PieceTable::place_of(std::string_view text) const {
  const std::size_t mask = entries_.size() - 1;
  std::size_t place = XXH3_64bits(text.data(), text.size()) & mask;
  for (;; place = (place + 1) & mask) {
    const Entry& entry = entries_[place];
    if (entry.number == kNone || entry.view() == text) return place;
  }
}

void PieceTable::resize(std::size_t n_entries) {
  if (n_entries <= entries_.size()) return;
  std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(n_entries));
  for (const Entry& entry : old)
    if (entry.number != kNone) entries_[place_of(entry.view())] = entry;
}

}  // namespace runnel
