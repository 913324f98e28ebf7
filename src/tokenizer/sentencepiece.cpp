#include "tokenizer/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace runnel {
namespace {

constexpr std::string_view kSpace = "\u2581";  // ▁
// Longer pieces than any real vocabulary's are not merged, so that a damaged file cannot make the
// index quadratic.
constexpr std::size_t kLongestPiece = 512;

// Bytes of the character text begins with; one that is not valid counts as a single byte.
std::size_t character_length(std::string_view text) {
  return static_cast<std::size_t>(std::max(1, utf8_length(text)));
}

// Of a byte that is no character: a number that no character has.
char32_t code_of(std::string_view character) {
  if (utf8_length(character) > 0) return utf8_decode(character);
  return 0x110000 + static_cast<unsigned char>(character[0]);
}

std::uint64_t pair_of(char32_t left, char32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | right;
}

std::string with_spaces(std::string_view piece) {
  std::string text;
  for (std::size_t i = 0; i < piece.size();) {
    const bool is_space = piece.substr(i).starts_with(kSpace);
    text.push_back(is_space ? ' ' : piece[i]);
    i += is_space ? kSpace.size() : 1;
  }
  return text;
}

std::vector<float> read_scores(const gguf::File& file, std::size_t n_tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.scores";
  auto scores = file.get_array(kKey).floats();
  if (!scores || scores->size() != n_tokens) {
    throw Error(fmt::format("{}: {}: want {} floats, one for each token, file has {}", file.name(),
                            kKey, n_tokens, scores ? scores->size() : 0));
  }
  return *std::move(scores);
}

// The place of each score in the descending order of different scores: what a merge's rank is.
std::vector<int> ranks_of(const std::vector<float>& scores) {
  std::vector<float> order = scores;
  std::erase_if(order, [](float score) { return score != score; });  // NaN comes last
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<int> ranks;
  ranks.reserve(scores.size());
  for (const float score : scores) {
    const auto place = std::lower_bound(order.begin(), order.end(), score, std::greater<>());
    ranks.push_back(score != score ? static_cast<int>(order.size())
                                   : static_cast<int>(place - order.begin()));
  }
  return ranks;
}

// The normal pieces of more than one character that merging may produce.
bool is_mergeable(const Vocabulary& vocabulary, Token token) {
  const std::string_view piece = vocabulary.piece(token);
  return vocabulary.kind(token) == TokenKind::kNormal && piece.size() <= kLongestPiece &&
         character_length(piece) < piece.size();
}

}  // namespace

SentencePieceTokenizer::SentencePieceTokenizer(const gguf::File& file)
    : Tokenizer(Vocabulary(file, {.bos = 1, .eos = 2, .unknown = 0, .adds_bos = true})),
      has_space_prefix_(file.get_bool("tokenizer.ggml.add_space_prefix", true)),
      doubles_space_(file.find("runnel.tokenizer.metaspace") == nullptr),
      has_listed_merges_(file.get_string("tokenizer.ggml.model") == "gemma4") {
  index_symbols();
  if (has_listed_merges_) {
    index_listed_merges(file);
  } else {
    index_merges(read_scores(file, static_cast<std::size_t>(size())));
  }
}

int SentencePieceTokenizer::symbol_of(std::string_view text) const {
  const std::optional<Token> token = find(text);
  if (token && vocabulary().kind(*token) == TokenKind::kNormal) return *token;
  return other_symbols_.find(text);
}

void SentencePieceTokenizer::index_symbols() {
  byte_tokens_.fill(-1);
  for (std::size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    const auto token = find(fmt::format("<0x{:02X}>", byte));
    if (token && vocabulary().kind(*token) == TokenKind::kByte) byte_tokens_[byte] = *token;
  }
  for (const Token token : vocabulary().repeated()) {
    const bool is_normal = vocabulary().kind(token) == TokenKind::kNormal;
    if (is_normal && symbol_of(piece(token)) == PieceTable::kNone)
      other_symbols_.add(piece(token), token);
  }
  for (Token token = 0; token < size(); ++token) {
    if (vocabulary().kind(token) == TokenKind::kUserDefined)
      add_user_defined(with_spaces(piece(token)), token);
  }
  std::array<bool, 128> has_symbol = {};  // ASCII characters, of which pieces are full
  for (Token token = 0; token < size(); ++token) {
    if (!is_mergeable(vocabulary(), token)) continue;
    std::string_view rest = piece(token);
    while (!rest.empty()) {
      const auto first = static_cast<unsigned char>(rest.front());
      if (first < has_symbol.size() && std::exchange(has_symbol[first], true)) {
        rest.remove_prefix(1);
        continue;
      }
      const std::string_view character = rest.substr(0, character_length(rest));
      const int fresh = size() + static_cast<int>(characters_.size());
      if (symbol_of(character) == PieceTable::kNone)
        other_symbols_.add(characters_.emplace_back(character), fresh);
      rest.remove_prefix(character.size());
    }
  }
  for (std::size_t c = 0; c < ascii_.size(); ++c) {
    const std::string written =
        c == ' ' ? std::string(kSpace) : std::string(1, static_cast<char>(c));
    const int found = symbol_of(written);
    ascii_[c] = found == PieceTable::kNone ? ~static_cast<int>(c) : found;
  }
}

// Every way to cut a piece into two symbols is a merge, as good as the piece's score.
void SentencePieceTokenizer::index_merges(const std::vector<float>& scores) {
  const std::vector<int> ranks = ranks_of(scores);
  const std::vector<Token>& repeated = vocabulary().repeated();
  for (Token token = 0; token < size(); ++token) {
    if (!is_mergeable(vocabulary(), token)) continue;
    const std::string_view view = piece(token);
    const bool is_repeated = std::binary_search(repeated.begin(), repeated.end(), token);
    const int merged = is_repeated ? symbol_of(view) : token;
    note_spaces(view);
    for (std::size_t cut = character_length(view); cut < view.size();) {
      const int left = symbol_of(view.substr(0, cut));
      const int right = left == PieceTable::kNone ? PieceTable::kNone : symbol_of(view.substr(cut));
      if (right != PieceTable::kNone)
        merges_.add(left, right, {ranks[static_cast<std::size_t>(token)], merged});
      cut += character_length(view.substr(cut));
    }
  }
}

// Merges whose result is no piece are left out: nothing could be made of it.
void SentencePieceTokenizer::index_listed_merges(const gguf::File& file) {
  const std::vector<ListedMerge> listed = listed_merges(file);
  merges_.reserve(listed.size());
  for (std::size_t i = 0; i < listed.size(); ++i) {
    const auto [left, right] = listed[i];
    const std::string joined = std::string(left) + std::string(right);
    const int symbols[] = {symbol_of(left), symbol_of(right), symbol_of(joined)};
    if (std::find(std::begin(symbols), std::end(symbols), PieceTable::kNone) != std::end(symbols))
      continue;
    merges_.add(symbols[0], symbols[1], {static_cast<int>(i), symbols[2]});
    note_spaces(joined);
  }
}

// Remembers what stands before a space inside a piece.
void SentencePieceTokenizer::note_spaces(std::string_view piece) {
  std::size_t previous = 0;
  for (std::size_t cut = character_length(piece); cut < piece.size();) {
    if (piece.substr(cut).starts_with(kSpace)) {
      const bool after_space = piece.substr(previous, cut - previous) == kSpace;
      joins_space_[after_space ? ' ' : static_cast<unsigned char>(piece[cut - 1])] = true;
    }
    previous = cut;
    cut += character_length(piece.substr(cut));
  }
}

// No merge crosses a space whose left neighbour stands before a space in no piece, so the text
// falls into words that can be encoded, and remembered, one by one.
void SentencePieceTokenizer::encode_plain(std::string_view text, bool space_prefix,
                                          WordCache& words, std::vector<Token>& tokens) const {
  Merger merger(merges_);
  std::vector<int> symbols;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::string_view word = text.substr(begin, word_length(text.substr(begin)));
    const bool is_prefixed = space_prefix && begin == 0 && (doubles_space_ || text.front() != ' ');
    begin += word.size();
    if (!is_prefixed && words.replay(word, tokens)) continue;
    const std::size_t first = tokens.size();
    encode_word(word, is_prefixed, merger, symbols, tokens);
    if (!is_prefixed) words.remember(word, first, tokens);
  }
}

// Of the word that the text begins with.
std::size_t SentencePieceTokenizer::word_length(std::string_view text) const {
  std::size_t end = 1;
  for (; end < text.size(); ++end) {
    const bool is_line_edge = (text[end] == '\n') != (text[end - 1] == '\n');
    if (has_listed_merges_ && is_line_edge) break;
    if (text[end] == ' ' && !joins_space_[static_cast<unsigned char>(text[end - 1])]) break;
  }
  return end;
}

void SentencePieceTokenizer::encode_word(std::string_view word, bool space_prefix, Merger& merger,
                                         std::vector<int>& symbols,
                                         std::vector<Token>& tokens) const {
  if (has_listed_merges_ && word.front() == '\n') {
    const int whole = symbol_of(word);
    if (whole != PieceTable::kNone) return push_tokens(whole, tokens);
  }
  symbols.clear();
  if (space_prefix) symbols.push_back(ascii_[' ']);
  while (!word.empty()) {
    const std::string_view character = word.substr(0, character_length(word));
    push_character(character, symbols);
    word.remove_prefix(character.size());
  }
  merger.merge(symbols);
  for (const int symbol : symbols) push_tokens(symbol, tokens);
}

void SentencePieceTokenizer::push_character(std::string_view character,
                                            std::vector<int>& word) const {
  const auto first = static_cast<unsigned char>(character[0]);
  if (first < ascii_.size()) {
    word.push_back(ascii_[first]);
    return;
  }
  const int found = character == kSpace ? PieceTable::kNone : symbol_of(character);
  if (found != PieceTable::kNone) {
    word.push_back(found);
    return;
  }
  for (const char byte : character)
    word.push_back(~static_cast<int>(static_cast<unsigned char>(byte)));
}

void SentencePieceTokenizer::push_tokens(int symbol, std::vector<Token>& tokens) const {
  if (symbol < 0) {
    push_byte(static_cast<unsigned char>(~symbol), tokens);
  } else if (symbol < size()) {
    tokens.push_back(symbol);
  } else {
    const std::string& character = characters_[static_cast<std::size_t>(symbol - size())];
    for (const char byte : with_spaces(character))
      push_byte(static_cast<unsigned char>(byte), tokens);
  }
}

// Without byte tokens a character becomes one unknown token: at its first byte.
void SentencePieceTokenizer::push_byte(unsigned char byte, std::vector<Token>& tokens) const {
  const bool is_continuation = (byte & 0xC0) == 0x80;
  if (byte_tokens_[byte] >= 0) {
    tokens.push_back(byte_tokens_[byte]);
  } else if (const auto unknown = vocabulary().unknown(); !unknown) {
    throw Error(fmt::format(
        "text to encode: the vocabulary has no token for byte 0x{:02X}, nor an unknown one", byte));
  } else if (!is_continuation) {
    tokens.push_back(*unknown);
  }
}

// Every merge makes a piece, so none crosses two characters that are neighbours in no piece.
std::vector<std::size_t> SentencePieceTokenizer::seams(std::string_view text) const {
  std::call_once(has_neighbours_, [this] { index_neighbours(); });
  constexpr std::size_t kLookedAt = 16 << 10;  // bytes at the end: one place is enough
  std::size_t at = text.size() - std::min(text.size(), kLookedAt);
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  std::vector<std::size_t> places;
  char32_t previous = 0;
  for (bool is_first = true; at < text.size(); is_first = false) {
    const std::string_view character = text.substr(at, character_length(text.substr(at)));
    const char32_t code = code_of(character);
    if (!is_first && !neighbours_.contains(pair_of(previous, code))) places.push_back(at);
    previous = code;
    at += character.size();
  }
  return places;
}

void SentencePieceTokenizer::index_neighbours() const {
  for (Token token = 0; token < size(); ++token) {
    if (!is_mergeable(vocabulary(), token)) continue;
    const std::string text = with_spaces(piece(token));
    char32_t previous = 0;
    for (std::string_view rest = text; !rest.empty();) {
      const std::string_view character = rest.substr(0, character_length(rest));
      const char32_t code = code_of(character);
      if (rest.size() < text.size()) neighbours_.insert(pair_of(previous, code));
      previous = code;
      rest.remove_prefix(character.size());
    }
  }
}

std::string SentencePieceTokenizer::decode_plain(Token token) const {
  const std::string_view stored = piece(token);
  if (vocabulary().kind(token) != TokenKind::kByte) return with_spaces(stored);
  const auto byte = std::find(byte_tokens_.begin(), byte_tokens_.end(), token);
  if (byte == byte_tokens_.end()) return std::string(stored);
  return std::string(1, static_cast<char>(byte - byte_tokens_.begin()));
}

}  // namespace runnel
