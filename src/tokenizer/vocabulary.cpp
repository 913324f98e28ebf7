#include "tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <array>
#include <limits>

namespace runnel {
namespace {

constexpr std::int64_t kNoToken = 0xFFFFFFFF;  // how some files write "there is none"

// Tokens that end an answer, by their well-known names, when the file holds them as control tokens.
constexpr std::array<std::string_view, 15> kEnds = {"<|im_end|>",
                                                    "<|eot_id|>",
                                                    "<|eom_id|>",
                                                    "<|end_of_text|>",
                                                    "<end_of_turn>",
                                                    "<|end|>",
                                                    "<|return|>",
                                                    "<|call|>",
                                                    "<|endoftext|>",
                                                    "<|eot|>",
                                                    "<|EOT|>",
                                                    "<EOT>",
                                                    "<｜end▁of▁sentence｜>",
                                                    "<|end_of_turn|>",
                                                    "<turn|>"};

// Marks of a dialogue that some files hold as user-defined, which would let any text inject them,
// or as normal, so that not even a template could write them.
bool looks_like_control(std::string_view piece, TokenKind kind) {
  if (kind != TokenKind::kUserDefined && kind != TokenKind::kNormal) return false;
  if (piece.size() > 4 && piece.starts_with("<|") && piece.ends_with("|>")) {
    return kind == TokenKind::kUserDefined || piece.find_first_of("<>| ", 2) == piece.size() - 2;
  }
  // Gemma 4 opens with <|turn> and closes with <turn|>.
  const bool is_half = kind == TokenKind::kUserDefined && piece.size() > 3 &&
                       piece.starts_with('<') && piece.ends_with('>') &&
                       (piece[1] == '|') != (piece[piece.size() - 2] == '|');
  if (is_half && piece.find_first_of("<> ", 1) == piece.size() - 1) return true;
  return piece == "<start_of_turn>" || piece == "<end_of_turn>";
}

std::optional<Token> read_token(const gguf::File& file, std::string_view key,
                                std::optional<Token> fallback, int size) {
  if (file.find(key) == nullptr) {
    return fallback && *fallback < size ? fallback : std::nullopt;
  }
  const std::int64_t token = file.get_int(key);
  if (token == kNoToken || token == -1) return std::nullopt;
  if (token < 0 || token >= size) {
    throw Error(
        fmt::format("{}: {}: want a token below {}, file has {}", file.name(), key, size, token));
  }
  return static_cast<Token>(token);
}

}  // namespace

Vocabulary::Vocabulary(const gguf::File& file, const VocabularyDefaults& defaults) {
  read_pieces(file);
  read_kinds(file);
  bos_ = read_token(file, "tokenizer.ggml.bos_token_id", defaults.bos, size());
  eos_ = read_token(file, "tokenizer.ggml.eos_token_id", defaults.eos, size());
  unknown_ = read_token(file, "tokenizer.ggml.unknown_token_id", defaults.unknown, size());
  adds_bos_ = file.get_bool("tokenizer.ggml.add_bos_token", defaults.adds_bos);
  find_ends(file);
}

std::string_view Vocabulary::piece(Token token) const {
  const auto place = static_cast<std::size_t>(token);
  const std::uint32_t begin = place == 0 ? 0 : ends_of_pieces_[place - 1];
  return {pieces_.data() + begin, ends_of_pieces_[place] - begin};
}

std::optional<Token> Vocabulary::find(std::string_view piece) const {
  const Token found = by_piece_.find(piece);
  return found == PieceTable::kNone ? std::nullopt : std::optional(found);
}

void Vocabulary::read_pieces(const gguf::File& file) {
  const auto pieces = file.get_array("tokenizer.ggml.tokens").strings();
  if (!pieces || pieces->empty()) {
    throw Error(file.name() + ": tokenizer.ggml.tokens: want a list of strings, file has none");
  }
  std::size_t n_bytes = 0;
  for (const std::string_view piece : *pieces) n_bytes += piece.size();
  if (n_bytes > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(fmt::format("{}: tokenizer.ggml.tokens: want less than 4 GiB of text, file has {}",
                            file.name(), n_bytes));
  }
  pieces_.reserve(n_bytes);
  ends_of_pieces_.reserve(pieces->size());
  for (const std::string_view piece : *pieces) {
    pieces_.insert(pieces_.end(), piece.begin(), piece.end());
    ends_of_pieces_.push_back(static_cast<std::uint32_t>(pieces_.size()));
  }
  by_piece_.reserve(pieces->size());
  for (Token token = 0; token < size(); ++token)
    if (!by_piece_.add(piece(token), token)) repeated_.push_back(token);
}

void Vocabulary::read_kinds(const gguf::File& file) {
  kinds_.assign(ends_of_pieces_.size(), TokenKind::kNormal);
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  if (file.find(kKey) == nullptr) return;
  const auto kinds = file.get_array(kKey).ints();
  if (!kinds || kinds->size() != kinds_.size()) {
    throw Error(fmt::format("{}: {}: want {} integers, one for each token, file has {}",
                            file.name(), kKey, kinds_.size(), kinds ? kinds->size() : 0));
  }
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    const std::int64_t kind = (*kinds)[i];
    if (kind < 0 || kind > 6) {
      throw Error(fmt::format("{}: {}: want 0 to 6, token {} has {}", file.name(), kKey, i, kind));
    }
    if (kind > 0) kinds_[i] = static_cast<TokenKind>(kind);
    if (looks_like_control(piece(static_cast<Token>(i)), kinds_[i])) {
      kinds_[i] = TokenKind::kControl;
    }
  }
}

void Vocabulary::find_ends(const gguf::File& file) {
  if (eos_) ends_.insert(*eos_);
  for (const std::string_view key :
       {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (const auto token = read_token(file, key, std::nullopt, size())) ends_.insert(*token);
  }
  for (const std::string_view name : kEnds) {
    const auto token = find(name);
    if (token && kind(*token) == TokenKind::kControl) ends_.insert(*token);
  }
  // Where answers have channels, this only ends one of several messages.
  const auto end = find("<|end|>");
  if (find("<|channel|>") && find("<|return|>") && end && end != eos_) ends_.erase(*end);
}

}  // namespace runnel
