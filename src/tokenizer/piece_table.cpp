#include "tokenizer/piece_table.h"

#include <xxhash.h>

#include <utility>

namespace runnel {

bool PieceTable::add(std::string_view text, int number) {
  if (4 * (n_taken_ + 1) > 3 * entries_.size()) reserve(2 * n_taken_);
  const Place place = place_of(text);
  if (tags_[place.index] != kFree) return false;
  put({text.data(), static_cast<std::uint32_t>(text.size()), number}, place);
  ++n_taken_;
  return true;
}

int PieceTable::find(std::string_view text) const {
  return entries_.empty() ? kNone : entries_[place_of(text).index].number;
}

PieceTable::Place PieceTable::place_of(std::string_view text) const {
  const std::size_t mask = entries_.size() - 1;
  const std::uint64_t hash = XXH3_64bits(text.data(), text.size());
  const auto tag = static_cast<std::uint8_t>(hash >> 56 | 1);
  for (std::size_t index = hash & mask;; index = (index + 1) & mask) {
    if (tags_[index] == kFree || (tags_[index] == tag && entries_[index].view() == text))
      return {index, tag};
  }
}

void PieceTable::put(const Entry& entry, Place place) {
  entries_[place.index] = entry;
  tags_[place.index] = place.tag;
}

void PieceTable::resize(std::size_t n_entries) {
  if (n_entries <= entries_.size()) return;
  std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(n_entries));
  tags_.assign(n_entries, kFree);
  for (const Entry& entry : old)
    if (entry.number != kNone) put(entry, place_of(entry.view()));
}

}  // namespace runnel
