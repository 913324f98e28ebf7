#include "tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "gguf/file.h"
#include "runnel/error.h"

namespace runnel {
namespace {

constexpr int kEnd = -1;     // no neighbour
constexpr int kJoined = -2;  // id of a place that its left neighbour has taken in

std::size_t at(int place) { return static_cast<std::size_t>(place); }

}  // namespace

std::vector<ListedMerge> listed_merges(const gguf::File& file) {
  constexpr std::string_view kKey = "tokenizer.ggml.merges";
  const auto lines = file.get_array(kKey).strings();
  if (!lines) throw Error(fmt::format("{}: {}: want a list of strings", file.name(), kKey));
  std::vector<ListedMerge> merges;
  merges.reserve(lines->size());
  for (const std::string_view line : *lines) {
    const std::size_t space = line.find(' ', 1);
    if (line.empty() || space == std::string_view::npos || space + 1 == line.size()) {
      throw Error(
          fmt::format("{}: {}: want two pieces and a space between them, line {} has \"{}\"",
                      file.name(), kKey, merges.size(), line));
    }
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return merges;
}

void MergeTable::add(int left, int right, Merge merge) {
  if (4 * (n_taken_ + 1) > 3 * entries_.size())
    resize(std::max<std::size_t>(2 * entries_.size(), 16));
  const std::uint64_t pair = key(left, right);
  Entry& entry = entries_[place_of(pair)];
  if (entry.key != kFree) return;
  entry = {pair, merge};
  ++n_taken_;
}

const MergeTable::Merge* MergeTable::find(int left, int right) const {
  if (entries_.empty()) return nullptr;
  const Entry& entry = entries_[place_of(key(left, right))];
  return entry.key == kFree ? nullptr : &entry.merge;
}

std::size_t MergeTable::place_of(std::uint64_t key) const {
  const std::size_t mask = entries_.size() - 1;
  const std::uint64_t mixed = key * 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio
  std::size_t place = static_cast<std::size_t>(mixed ^ mixed >> 32) & mask;
  while (entries_[place].key != kFree && entries_[place].key != key) place = (place + 1) & mask;
  return place;
}

void MergeTable::resize(std::size_t n_least) {
  const std::size_t n_entries = std::bit_ceil(n_least);
  if (n_entries <= entries_.size()) return;
  const std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(n_entries));
  for (const Entry& entry : old)
    if (entry.key != kFree) entries_[place_of(entry.key)] = entry;
}

void Merger::merge(std::vector<int>& word) {
  const int n = static_cast<int>(word.size());
  symbols_.clear();
  heap_.clear();
  for (int i = 0; i < n; ++i) {
    symbols_.push_back({word[at(i)], i - 1, i + 1 < n ? i + 1 : kEnd});
  }
  for (int i = 0; i < n; ++i) consider(i);

  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const int rank = static_cast<int>(heap_.back() >> 32);
    const int left = static_cast<int>(heap_.back() & 0xFFFFFFFF);
    heap_.pop_back();
    const MergeTable::Merge* merge = joinable(left);
    if (merge != nullptr && merge->rank == rank) join(left, merge->merged);
  }

  word.clear();
  for (int i = n > 0 ? 0 : kEnd; i != kEnd; i = symbols_[at(i)].next) {
    word.push_back(symbols_[at(i)].id);
  }
}

// The merge of the symbol at a place with its right neighbour, if there is one.
const MergeTable::Merge* Merger::joinable(int left) const {
  const Symbol& symbol = symbols_[at(left)];
  if (symbol.id < 0 || symbol.next == kEnd) return nullptr;
  const int right_id = symbols_[at(symbol.next)].id;
  return right_id < 0 ? nullptr : table_->find(symbol.id, right_id);
}

void Merger::consider(int left) {
  const MergeTable::Merge* merge = joinable(left);
  if (merge == nullptr) return;
  heap_.push_back(static_cast<Candidate>(merge->rank) << 32 | static_cast<std::uint32_t>(left));
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void Merger::join(int left, int merged) {
  Symbol& first = symbols_[at(left)];
  Symbol& second = symbols_[at(first.next)];
  first.id = merged;
  first.next = second.next;
  second.id = kJoined;
  if (first.next != kEnd) symbols_[at(first.next)].previous = left;
  if (first.previous != kEnd) consider(first.previous);
  consider(left);
}

}  // namespace runnel
