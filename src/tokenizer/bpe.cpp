#include "tokenizer/bpe.h"

#include <algorithm>

namespace runnel {
namespace {

constexpr int kEnd = -1;     // no neighbour
constexpr int kJoined = -2;  // id of a place that its left neighbour has taken in

std::size_t at(int place) { return static_cast<std::size_t>(place); }

}  // namespace

const MergeTable::Merge* MergeTable::find(int left, int right) const {
  const auto found = merges_.find(key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Merger::merge(std::vector<int>& word) {
  const int n = static_cast<int>(word.size());
  symbols_.clear();
  heap_.clear();
  for (int i = 0; i < n; ++i) {
    symbols_.push_back({word[at(i)], i - 1, i + 1 < n ? i + 1 : kEnd});
  }
  for (int i = 1; i < n; ++i) consider(i - 1, i);

  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const Candidate best = heap_.back();
    heap_.pop_back();
    const Symbol& left = symbols_[at(best.left)];
    if (left.id != best.left_id || left.next != best.right) continue;
    if (symbols_[at(best.right)].id != best.right_id) continue;
    join(best.left, best.right, table_->find(best.left_id, best.right_id)->merged);
  }

  word.clear();
  for (int i = n > 0 ? 0 : kEnd; i != kEnd; i = symbols_[at(i)].next) {
    word.push_back(symbols_[at(i)].id);
  }
}

void Merger::consider(int left, int right) {
  const int left_id = symbols_[at(left)].id;
  const int right_id = symbols_[at(right)].id;
  if (left_id < 0 || right_id < 0) return;
  const MergeTable::Merge* merge = table_->find(left_id, right_id);
  if (merge == nullptr) return;
  heap_.push_back({merge->rank, left, right, left_id, right_id});
  std::push_heap(heap_.begin(), heap_.end());
}

void Merger::join(int left, int right, int merged) {
  Symbol& first = symbols_[at(left)];
  Symbol& second = symbols_[at(right)];
  first.id = merged;
  first.next = second.next;
  second.id = kJoined;
  if (first.next != kEnd) symbols_[at(first.next)].previous = left;
  if (first.previous != kEnd) consider(first.previous, left);
  if (first.next != kEnd) consider(left, first.next);
}

}  // namespace runnel
