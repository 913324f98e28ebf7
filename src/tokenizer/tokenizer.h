// Text to tokens and back, from a GGUF file's own vocabulary (metadata keys tokenizer.ggml.*).
// Two kinds: SentencePiece-style BPE with scores and byte fallback ("llama"), and byte-level BPE with
// merges and a pre-tokenizer ("gpt2").
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

namespace runnel {

struct EncodeOptions {
  bool add_bos = true;           // the file decides whether the model has one (add_bos_token)
  bool parse_special = false;    // control tokens written in the text become tokens
  bool space_prefix = true;      // false when the text continues a stream
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Chooses the kind from tokenizer.ggml.model and copies what it needs; the file may go away.
  // Error: no vocabulary, an unknown kind or pre-tokenizer (named, with the known ones), or damaged lists.
  static std::unique_ptr<Tokenizer> from(const gguf::File& file);

  // Any bytes are accepted; invalid UTF-8 goes through the byte tokens. Close to linear in the text's length.
  virtual std::vector<Token> encode(std::string_view text, const EncodeOptions& options) const = 0;

  // The bytes a token stands for in running text: a word with its space, a single byte, or nothing for a
  // control token (unless `special`, which writes its name).
  virtual std::string decode(Token token, bool special = false) const = 0;
  // True when the first token of a text carries a space that encode() put there (SentencePiece).
  virtual bool has_space_prefix() const = 0;

  std::string decode(std::span<const Token> tokens, bool special = false) const;

  int size() const;                                    // tokens in the vocabulary
  std::string_view piece(Token token) const;           // as stored in the file: "▁the", "<0x0A>", "Ġthe"
  std::optional<Token> find(std::string_view piece) const;
  bool is_control(Token token) const;
  std::optional<Token> bos() const;                    // the token; whether encode() adds it: adds_bos()
  bool adds_bos() const;
  bool is_end_of_generation(Token token) const;        // eos, eot, <|im_end|>, <end_of_turn>, ...
  std::optional<Token> eos() const;
};

// Turns tokens into text piece by piece and never emits half a UTF-8 character: bytes that may still become
// a character wait for the next token; bytes that cannot become one are passed on as they are.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer);

  std::string push(Token token);   // the text that is now complete
  std::string flush();             // what still waits, at the end of a stream

  // The waiting bytes (at most 3) and whether the text has begun: for snapshots.
  struct State { std::string pending; bool at_start = true; };
  const State& state() const { return state_; }
  void restore(State state) { state_ = std::move(state); }

 private:
  const Tokenizer* tokenizer_;
  State state_;
};

}  // namespace runnel
