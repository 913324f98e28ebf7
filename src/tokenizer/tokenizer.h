// Text to tokens and back, from a GGUF file's own vocabulary (metadata keys tokenizer.ggml.*).
// Two kinds: SentencePiece-style BPE with scores and byte fallback ("llama"), and byte-level BPE
// with merges and a pre-tokenizer ("gpt2").
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "runnel/options.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_cache.h"

namespace runnel {

struct EncodeOptions {
  bool add_bos = true;         // the file decides whether the model has one (add_bos_token)
  bool parse_special = false;  // control tokens written in the text become tokens
  bool space_prefix = true;    // false when the text continues a stream
};

// A piece of text and whether control tokens written in it become tokens.
struct TextSegment {
  std::string text;
  bool is_special = false;
  bool operator==(const TextSegment&) const = default;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Chooses the kind from tokenizer.ggml.model and copies what it needs; the file may go away.
  // Error: no vocabulary, an unknown kind or pre-tokenizer (named, with the known ones), or damaged
  // lists.
  static std::unique_ptr<Tokenizer> from(const gguf::File& file);

  // Any bytes are accepted; invalid UTF-8 goes through the byte tokens, or becomes U+FFFD (or the
  // unknown token) where they are missing. Close to linear in the text's length. Error: more than
  // 2^31 - 1 bytes, or a byte that the vocabulary has nothing for.
  std::vector<Token> encode(std::string_view text, const EncodeOptions& options) const;
  // The segments as one text, so that words merge across their seams, but control tokens are only
  // recognised inside special segments (options.parse_special is not used).
  std::vector<Token> encode(std::span<const TextSegment> segments,
                            const EncodeOptions& options) const;

  // The last place where a text that may go on can be cut so that its parts, encoded one after the
  // other (the second without a space before it), give the tokens of the whole; 0: none was found.
  std::size_t find_cut(std::string_view text) const;

  // The bytes a token stands for in running text: a word with its space, a single byte, or nothing
  // for a control token (unless `special`, which writes its name). Error: not a token of the
  // vocabulary.
  std::string decode(Token token, bool special = false) const;
  // A whole text: the space that encode() put at its start is gone.
  std::string decode(std::span<const Token> tokens, bool special = false) const;
  // True when encode() puts a space before the first word of a text (SentencePiece).
  virtual bool has_space_prefix() const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  int size() const { return vocabulary_.size(); }  // tokens in the vocabulary
  // As stored in the file: "▁the", "<0x0A>", "Ġthe". Error: not a token of the vocabulary.
  std::string_view piece(Token token) const;
  std::optional<Token> find(std::string_view piece) const { return vocabulary_.find(piece); }
  bool is_control(Token token) const;
  std::optional<Token> bos() const { return vocabulary_.bos(); }
  bool adds_bos() const { return vocabulary_.adds_bos() && bos().has_value(); }
  std::optional<Token> eos() const { return vocabulary_.eos(); }
  // eos, eot, <|im_end|>, <end_of_turn>, ...
  bool is_end_of_generation(Token token) const { return vocabulary_.is_end_of_generation(token); }

 protected:
  explicit Tokenizer(Vocabulary vocabulary);
  // Plain text is brought to Unicode's normalisation form C before it is cut and merged.
  void set_composes(bool composes) { composes_ = composes; }
  // User-defined tokens as they stand in text; the control tokens are known already.
  void add_user_defined(std::string_view text, Token token) { added_.add(text, token, false); }

  // Appends the tokens of text without added tokens in it; `words` belongs to this call of
  // encode().
  virtual void encode_plain(std::string_view text, bool space_prefix, WordCache& words,
                            std::vector<Token>& tokens) const = 0;
  // Places in text, in order, that no merge crosses whatever stands around them.
  virtual std::vector<std::size_t> seams(std::string_view text) const = 0;
  // The bytes of a token that is neither control nor unknown.
  virtual std::string decode_plain(Token token) const = 0;

 private:
  friend class Detokenizer;
  struct Encoding;
  bool is_cut(std::string_view text, std::size_t place) const;
  void encode_segment(std::string_view text, std::size_t begin, std::size_t end, bool is_special,
                      Encoding& encoding) const;
  void encode_pending(std::string_view text, std::size_t end, Encoding& encoding) const;
  std::vector<Token> encode_joined(std::string_view text, std::span<const TextSegment> segments,
                                   const EncodeOptions& options) const;
  // decode(), where `at_start` says and learns whether the text has not begun.
  std::string decode_at(Token token, bool special, bool& at_start) const;

  Vocabulary vocabulary_;
  AddedTokens added_;
  bool composes_ = false;
};

// Turns tokens into text piece by piece and never emits half a UTF-8 character: bytes that may
// still become a character wait for the next token; bytes that cannot become one are passed on as
// they are. Borrows the tokenizer.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  std::string push(Token token);  // the text that is now complete; Error as Tokenizer::decode()
  std::string flush();            // what still waits, at the end of a stream

  // The waiting bytes (at most 3) and whether the text has yet to begin (its first word then loses
  // the space that SentencePiece puts there; a text that continues a prompt keeps it): for
  // snapshots.
  struct State {
    std::string pending;
    bool at_start = true;
  };
  const State& state() const { return state_; }
  void restore(State state) { state_ = std::move(state); }

 private:
  const Tokenizer* tokenizer_;
  State state_;
};

}  // namespace runnel
