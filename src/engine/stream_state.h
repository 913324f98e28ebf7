// What a Stream holds. Its functions are in four files: the endless loop (stream.cpp), steps of
// several together (stream_step.cpp), saving and resuming (saved_stream.cpp), and looking into it
// (stream_study.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/draft.h"
#include "engine/internals.h"
#include "engine/token_history.h"
#include "sampling/sampler.h"

namespace runnel {

struct Stream::State {
  const Model::Internals& model;
  StreamOptions options;  // resolved
  KvCache cache;
  TokenHistory history;
  Sampler sampler;
  std::unique_ptr<TokenConstraint> constraint;  // may be null
  std::optional<Detokenizer> detokenizer;       // absent for a file without a vocabulary
  std::unique_ptr<LogitsRow> logits;            // for the next token, by who made them
  bool has_logits = false;                      // not before anything was fed
  // What they are still to be made of (Decoder::logits_of), and room for the next; empty: they are
  // made.
  std::vector<float> last_state, next_state;
  std::vector<Token> visible;  // room for the visible tokens, where a step needs them
  std::vector<Token> tried;    // room for a token and the guesses behind it
  // Guessed tokens that have passed the model already: in the cache beyond its position, with the
  // logits after each.
  DraftLength draft_length;
  std::vector<Token> ahead;
  std::size_t n_right = 0;          // of them, used
  std::vector<float> ahead_logits;  // [ahead.size(), vocabulary]
  std::int64_t all_guessed = 0;     // in the stream's life
  std::int64_t all_right = 0;

  // Borrows the model. `taken` is a cache of the shape that `resolved` asks for.
  State(const Model::Internals& internals, const StreamOptions& resolved, KvCache taken);
  std::unique_ptr<State> fork() const;

  Decoder& decoder() const { return model.decoder_for(options.chunk); }
  void check(std::span<const Token> tokens) const;
  void run(std::span<const Token> tokens, Segment::Logits wanted = Segment::Logits::kLast,
           const LogitsVisitor& on_logits = {});
  Segment segment(std::span<const Token> tokens, Segment::Logits wanted);
  void passed(const Segment& segment);
  void make_logits();
  void recompute(Token token, const LogitsVisitor& on_logits);
  void keep(std::span<const float> next_logits) {
    logits->write(next_logits);
    has_logits = true;
    last_state.clear();
  }
  // Here; empty before anything was fed.
  std::span<const float> next_logits();
  std::int64_t feed(std::span<const Token> tokens, const Progress& progress);
  float nll(std::span<const float> scores, Token token) const;
  void check_logits(float log_sum) const;
  void prepare_step();
  std::size_t n_writable() const;
  Choice choice();
  Choice choice_of(Token token) { return {.logits = logits.get(), .token = token}; }
  Chosen ask(const Choice& choice) const;
  Step step_of(const Chosen& chosen);
  static void write_tokens(std::span<const Work> work, int n_tokens, std::span<Step> steps);
  void take(Token token);
  bool take_ahead(Token token);
  void guess_after(Token token);
};

}  // namespace runnel
