#include "tokenizer/text_splitter.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace runnel {
namespace {

bool is_visible_ascii(char byte) { return byte > ' ' && byte < 0x7F; }

// The last place from `from` on where a word ends and a space begins; 0 when there is none.
std::size_t last_word_end(std::string_view text, std::size_t from) {
  for (std::size_t at = text.size(); at-- > std::max<std::size_t>(from, 1);) {
    if (text[at] == ' ' && is_visible_ascii(text[at - 1])) return at;
  }
  return 0;
}

// Where to cut a text that has no better place.
std::size_t forced_cut(std::string_view text) {
  const std::size_t line_end = text.rfind('\n', text.size() - 2);
  const bool is_late =
      line_end != std::string_view::npos && text.size() - line_end <= TextSplitter::kPatience;
  if (is_late) return line_end + 1;
  return text.size() - static_cast<std::size_t>(utf8_unfinished_tail(text));
}

}  // namespace

std::string TextSplitter::push(std::string_view bytes) {
  // What already waits holds no place to cut at, except perhaps at its very end.
  const std::size_t searched = waiting_.size();
  waiting_ += bytes;
  std::size_t cut = last_word_end(waiting_, searched);
  if (waiting_.size() - cut > kPatience) cut = std::max(cut, late_cut());
  if (cut == 0) return {};
  looked_at_ = 0;
  std::string rest = waiting_.substr(cut);
  waiting_.resize(cut);
  return std::exchange(waiting_, std::move(rest));
}

// The tokenizer is asked again when the text has doubled, so that the search stays linear.
std::size_t TextSplitter::late_cut() {
  std::size_t cut = 0;
  if (tokenizer_ != nullptr && waiting_.size() >= 2 * looked_at_) {
    looked_at_ = waiting_.size();
    cut = tokenizer_->find_cut(waiting_);
  }
  const std::size_t most = tokenizer_ == nullptr ? kPatience : kMostWaiting;
  return cut == 0 && waiting_.size() > most ? forced_cut(waiting_) : cut;
}

std::string TextSplitter::finish() { return std::exchange(waiting_, {}); }

}  // namespace runnel
