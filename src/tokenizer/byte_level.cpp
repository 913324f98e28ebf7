#include "tokenizer/byte_level.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/utf8.h"

namespace runnel {
namespace {

constexpr std::string_view kPreKey = "tokenizer.ggml.pre";

// The character that stands for each byte in the file: itself where it is printable, else the next
// one from U+0100 on.
const std::array<char32_t, 256>& written_bytes() {
  static const auto table = [] {
    std::array<char32_t, 256> written{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < written.size(); ++byte) {
      const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      written[byte] = is_printable ? byte : next++;
    }
    return written;
  }();
  return table;
}

std::optional<char> byte_of(char32_t written) {
  static const auto table = [] {
    std::unordered_map<char32_t, char> bytes;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      bytes.emplace(written_bytes()[byte], static_cast<char>(byte));
    }
    return bytes;
  }();
  const auto found = table.find(written);
  return found == table.end() ? std::nullopt : std::optional(found->second);
}

// The bytes a piece is written for; the piece itself when it is not written that way.
std::string read_piece(std::string_view piece) {
  std::string bytes;
  for (std::string_view rest = piece; !rest.empty();) {
    const int length = utf8_length(rest);
    const auto byte = length > 0 ? byte_of(utf8_decode(rest)) : std::nullopt;
    if (!byte) return std::string(piece);
    bytes.push_back(*byte);
    rest.remove_prefix(static_cast<std::size_t>(length));
  }
  return bytes;
}

PreTokenizer read_pre_tokenizer(const gguf::File& file) {
  try {
    return PreTokenizer(file.get_string(kPreKey, "default"));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}: {}", file.name(), kPreKey, error.what()));
  }
}

bool is_plain(TokenKind kind) { return kind == TokenKind::kNormal || kind == TokenKind::kUnused; }

}  // namespace

// Symbols by the text they are written with; texts that are no plain token get a number of their
// own.
class ByteLevelTokenizer::Symbols {
 public:
  explicit Symbols(ByteLevelTokenizer& owner) : owner_(owner) {}

  int at(const std::string& written) {
    const auto token = owner_.find(written);
    if (token && is_plain(owner_.vocabulary().kind(*token))) return *token;
    const int fresh = static_cast<int>(owner_.bytes_.size());
    const auto [symbol, is_new] = others_.emplace(written, fresh);
    if (is_new) owner_.bytes_.push_back(read_piece(written));
    return symbol->second;
  }

 private:
  ByteLevelTokenizer& owner_;
  std::unordered_map<std::string, int> others_;
};

ByteLevelTokenizer::ByteLevelTokenizer(const gguf::File& file)
    : ByteLevelTokenizer(file, read_pre_tokenizer(file)) {}

ByteLevelTokenizer::ByteLevelTokenizer(const gguf::File& file, PreTokenizer pre_tokenizer)
    : Tokenizer(Vocabulary(file, {.adds_bos = pre_tokenizer.adds_bos()})),
      pre_tokenizer_(std::move(pre_tokenizer)) {
  set_composes(pre_tokenizer_.composes());
  index_tokens();
  index_merges(file);
  choose_replacement();
}

void ByteLevelTokenizer::index_tokens() {
  bytes_.reserve(static_cast<std::size_t>(size()));
  for (Token token = 0; token < size(); ++token) {
    const TokenKind kind = vocabulary().kind(token);
    bytes_.push_back(is_plain(kind) ? read_piece(piece(token)) : std::string(piece(token)));
    if (kind == TokenKind::kUserDefined) add_user_defined(piece(token), token);
  }
}

void ByteLevelTokenizer::index_merges(const gguf::File& file) {
  const std::vector<ListedMerge> listed = listed_merges(file);
  Symbols symbols(*this);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    std::string written;
    utf8_append(written, written_bytes()[byte]);
    byte_symbols_[byte] = symbols.at(written);
  }
  merges_.reserve(listed.size());
  for (std::size_t i = 0; i < listed.size(); ++i) {
    const std::string left(listed[i].left);
    const std::string right(listed[i].right);
    merges_.add(symbols.at(left), symbols.at(right),
                {static_cast<int>(i), symbols.at(left + right)});
  }
  if (!pre_tokenizer_.ignores_merges()) return;
  for (Token token = 0; token < size(); ++token) {
    if (!is_plain(vocabulary().kind(token))) continue;
    by_bytes_.emplace(bytes_[static_cast<std::size_t>(token)], token);
  }
}

// U+FFFD, as readers of text put for bytes that are none; where the vocabulary cannot write it, its
// unknown token.
void ByteLevelTokenizer::choose_replacement() {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  const bool is_writable = std::all_of(kReplacement.begin(), kReplacement.end(), [&](char byte) {
    return byte_symbols_[static_cast<unsigned char>(byte)] < size();
  });
  if (is_writable) {
    Merger merger(merges_);
    std::vector<int> symbols;
    encode_word(kReplacement, merger, symbols, replacement_);
  } else if (const auto unknown = vocabulary().unknown()) {
    replacement_ = {*unknown};
  }
}

void ByteLevelTokenizer::encode_plain(std::string_view text, bool, WordCache& words,
                                      std::vector<Token>& tokens) const {
  Merger merger(merges_);
  std::vector<int> symbols;
  for (const std::string_view word : pre_tokenizer_.split(text)) {
    if (words.replay(word, tokens)) continue;
    const std::size_t first = tokens.size();
    encode_word(word, merger, symbols, tokens);
    words.remember(word, first, tokens);
  }
}

void ByteLevelTokenizer::encode_word(std::string_view word, Merger& merger,
                                     std::vector<int>& symbols, std::vector<Token>& tokens) const {
  if (const auto whole = by_bytes_.find(word); whole != by_bytes_.end()) {
    tokens.push_back(whole->second);
    return;
  }
  symbols.clear();
  for (const char byte : word) symbols.push_back(byte_symbols_[static_cast<unsigned char>(byte)]);
  merger.merge(symbols);
  for (const int symbol : symbols) push_tokens(symbol, tokens);
}

// A symbol that is no token falls apart into its bytes.
void ByteLevelTokenizer::push_tokens(int symbol, std::vector<Token>& tokens) const {
  if (symbol < size()) {
    tokens.push_back(symbol);
    return;
  }
  for (const char byte : bytes_[static_cast<std::size_t>(symbol)]) {
    const int single = byte_symbols_[static_cast<unsigned char>(byte)];
    if (single < size()) {
      tokens.push_back(single);
    } else {
      push_replacement(static_cast<unsigned char>(byte), tokens);
    }
  }
}

void ByteLevelTokenizer::push_replacement(unsigned char byte, std::vector<Token>& tokens) const {
  if (replacement_.empty()) {
    throw Error(fmt::format(
        "text to encode: the vocabulary has no token for byte 0x{:02X}, nor one in its place",
        byte));
  }
  tokens.insert(tokens.end(), replacement_.begin(), replacement_.end());
}

std::vector<std::size_t> ByteLevelTokenizer::seams(std::string_view text) const {
  std::vector<std::size_t> places;
  std::size_t end = 0;
  for (const std::string_view word : pre_tokenizer_.split(text))
    places.push_back(end += word.size());
  return places;
}

std::string ByteLevelTokenizer::decode_plain(Token token) const {
  return bytes_[static_cast<std::size_t>(token)];
}

}  // namespace runnel
