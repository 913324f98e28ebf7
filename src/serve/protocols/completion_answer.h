// What the two stateless OpenAI protocols share: a request that brings its whole history, continued
// on the stream that holds most of it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

// The history: a dialogue as flagged text, or tokens.
struct History {
  std::string chat;           // with what is pinned; empty: not a dialogue
  std::string pinned;         // its beginning
  std::vector<Token> tokens;  // where it is not a dialogue

  // Of a dialogue whose first system messages are pinned, up to where the answer begins.
  static History of(const Dialogues& chat, std::vector<Message> messages);
};

// Gathers or passes on an answer; a protocol says how pieces look.
class CompletionWriter : public AnswerListener {
 public:
  CompletionWriter(ReplyPtr reply, bool is_streamed)
      : reply_(std::move(reply)), is_streamed_(is_streamed) {}

  void began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t seed,
             const Place& place) final;
  void wrote(const Written& written, const Place& place) final;
  void evicted(std::int64_t from, std::int64_t to, const Place& place) final;
  void ended(const Ending& ending, const Place& place) final;

  bool is_continued = false;  // on a stream that held the beginning already

 protected:
  // Pieces of a stream; none: nothing to send.
  virtual std::vector<Json> first_pieces() = 0;
  virtual Json piece(const Written& written) = 0;
  virtual std::vector<Json> last_pieces(const Ending& ending) = 0;
  virtual Json whole(const std::string& text, const std::vector<TokenInfo>& tokens,
                     const Ending& ending) = 0;

  Json usage(const Ending& ending) const;
  Json told(const Place& place) const;  // "runnel" of an answer

 private:
  void send(Json piece, const Place& place);

  ReplyPtr reply_;
  bool is_streamed_;
  bool is_begun_ = false;
  std::string text_;
  std::vector<TokenInfo> tokens_;
  std::int64_t evicted_from_ = -1, evicted_to_ = -1;
};

const char* finish_reason(const Ending& ending);  // "stop", "length"

// On the stream that holds the history's beginning, or a new one. The answer is cancelled when the
// client leaves.
void answer_history(const Services& services, const ReplyPtr& reply, History history,
                    AnswerOptions options, std::shared_ptr<CompletionWriter> writer);

// max_tokens and its relatives, stop, logprobs, sampling; and refusals of what there is not.
AnswerOptions completion_options(const Services& services, const Json& body, bool is_streamed,
                                 const std::vector<const char*>& names_of_most_tokens);

std::string token_text(const Model& model, Token token);

}  // namespace runnel::serve
