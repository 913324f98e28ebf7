#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/composition.h"
#include "tokenizer/sentencepiece.h"

namespace runnel {

// What one call of encode() carries along.
struct Tokenizer::Encoding {
  std::vector<Token> tokens;
  WordCache words;
  std::deque<std::string> composed;  // texts that words borrows
  std::size_t pending = 0;           // plain text from here on is not yet encoded
  bool space_prefix = false;
};

std::unique_ptr<Tokenizer> Tokenizer::from(const gguf::File& file) {
  if (file.find("tokenizer.ggml.model") == nullptr) {
    throw Error(file.name() + ": no vocabulary: want tokenizer.ggml.model in the metadata");
  }
  const std::string_view kind = file.get_string("tokenizer.ggml.model");
  if (kind == "llama" || kind == "gemma4") return std::make_unique<SentencePieceTokenizer>(file);
  if (kind == "gpt2") return std::make_unique<ByteLevelTokenizer>(file);
  throw Error(fmt::format("{}: tokenizer.ggml.model: want llama, gpt2 or gemma4, file has {}",
                          file.name(), kind));
}

Tokenizer::Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  for (Token token = 0; token < size(); ++token) {
    if (vocabulary_.kind(token) == TokenKind::kControl) {
      added_.add(vocabulary_.piece(token), token, true);
    }
  }
}

std::vector<Token> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const TextSegment whole{std::string(text), options.parse_special};
  return encode(std::span(&whole, 1), options);
}

std::vector<Token> Tokenizer::encode(std::span<const TextSegment> segments,
                                     const EncodeOptions& options) const {
  if (segments.size() == 1) return encode_joined(segments[0].text, segments, options);
  std::string text;
  for (const TextSegment& segment : segments) text += segment.text;
  return encode_joined(text, segments, options);
}

std::vector<Token> Tokenizer::encode_joined(std::string_view text,
                                            std::span<const TextSegment> segments,
                                            const EncodeOptions& options) const {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw Error(
        fmt::format("text to encode: want less than 2 GiB at a time, found {} bytes", text.size()));
  }
  Encoding encoding;
  encoding.space_prefix = options.space_prefix && has_space_prefix();
  if (options.add_bos && adds_bos()) encoding.tokens.push_back(*bos());
  std::size_t begin = 0;
  for (const TextSegment& segment : segments) {
    encode_segment(text, begin, begin + segment.text.size(), segment.is_special, encoding);
    begin += segment.text.size();
  }
  encode_pending(text, text.size(), encoding);
  return std::move(encoding.tokens);
}

// Looks for added tokens that begin in [begin, end); plain text is left pending up to the next one.
void Tokenizer::encode_segment(std::string_view text, std::size_t begin, std::size_t end,
                               bool is_special, Encoding& encoding) const {
  for (std::size_t at = std::max(begin, encoding.pending); at < end;) {
    const auto match = added_.may_begin(text[at])
                           ? added_.match(text.substr(at), is_special ? end - at : 0)
                           : std::nullopt;
    if (!match) {
      ++at;
      continue;
    }
    encode_pending(text, at, encoding);
    encoding.tokens.push_back(match->token);
    encoding.space_prefix = match->is_control && has_space_prefix();
    at += match->length;
    encoding.pending = at;
  }
}

void Tokenizer::encode_pending(std::string_view text, std::size_t end, Encoding& encoding) const {
  if (encoding.pending >= end) return;
  std::string_view plain = text.substr(encoding.pending, end - encoding.pending);
  if (composes_ && may_need_composition(plain))
    plain = encoding.composed.emplace_back(composed(plain));
  encode_plain(plain, encoding.space_prefix, encoding.words, encoding.tokens);
  encoding.space_prefix = false;
  encoding.pending = end;
}

// What is decided by looking ahead (white space, the ends of words, added tokens) is decided a few
// characters on, so places near the end are left alone.
std::size_t Tokenizer::find_cut(std::string_view text) const {
  constexpr std::size_t kMargin = 64;
  constexpr int kMostTries = 64;
  const std::vector<std::size_t> places = seams(text);
  int n_tries = 0;
  for (auto place = places.rbegin(); place != places.rend() && n_tries < kMostTries; ++place) {
    if (*place == 0 || *place + kMargin > text.size()) continue;
    const std::size_t visible = text.find_first_not_of(" \t\r\n", *place);
    if (visible == std::string_view::npos || visible + kMargin / 2 > text.size()) continue;
    ++n_tries;
    if (is_cut(text, *place)) return *place;
  }
  return 0;
}

// Whether the tokens around the place are those of the parts, with control tokens and without.
bool Tokenizer::is_cut(std::string_view text, std::size_t place) const {
  constexpr std::size_t kAround = 2048;
  const auto is_inside = [text](std::size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
  };
  std::size_t begin = place - std::min(place, kAround);
  std::size_t end = std::min(text.size(), place + kAround);
  while (is_inside(begin)) ++begin;
  while (is_inside(end)) ++end;
  if (begin >= place) return false;
  const std::string_view left = text.substr(begin, place - begin);
  const std::string_view right = text.substr(place, end - place);
  for (const bool parse_special : {false, true}) {
    const EncodeOptions options = {
        .add_bos = false, .parse_special = parse_special, .space_prefix = false};
    std::vector<Token> parts = encode(left, options);
    const std::vector<Token> rest = encode(right, options);
    parts.insert(parts.end(), rest.begin(), rest.end());
    if (parts != encode(text.substr(begin, end - begin), options)) return false;
  }
  return true;
}

std::string_view Tokenizer::piece(Token token) const {
  if (!vocabulary_.contains(token)) {
    throw Error(fmt::format("token {}: want one of the vocabulary's {}", token, size()));
  }
  return vocabulary_.piece(token);
}

bool Tokenizer::is_control(Token token) const {
  if (!vocabulary_.contains(token)) return false;
  const TokenKind kind = vocabulary_.kind(token);
  return kind == TokenKind::kControl || kind == TokenKind::kUnknown;
}

std::string Tokenizer::decode(Token token, bool special) const {
  const std::string_view stored = piece(token);
  if (is_control(token)) return special ? std::string(stored) : std::string();
  return decode_plain(token);
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool special) const {
  std::string text;
  bool at_start = true;
  for (const Token token : tokens) text += decode_at(token, special, at_start);
  return text;
}

std::string Tokenizer::decode_at(Token token, bool special, bool& at_start) const {
  std::string text = decode(token, special);
  if (!at_start || is_control(token)) return text;
  at_start = false;
  // User-defined tokens are found before the space is put in, so they never carry it.
  const bool may_carry = vocabulary_.kind(token) != TokenKind::kUserDefined;
  if (has_space_prefix() && may_carry && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string Detokenizer::push(Token token) {
  std::string text = state_.pending + tokenizer_->decode_at(token, false, state_.at_start);
  const auto tail = static_cast<std::size_t>(utf8_unfinished_tail(text));
  state_.pending = text.substr(text.size() - tail);
  text.resize(text.size() - tail);
  return text;
}

std::string Detokenizer::flush() { return std::exchange(state_.pending, {}); }

}  // namespace runnel
