// An answer to a request that brought its history, gathered or passed on in pieces; a protocol says
// how they look.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "serve/protocols/errors.h"
#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

// What a request of OpenAI's says of how its answer is told.
struct Telling {
  std::string model_id;
  bool is_streamed = false;
  bool has_usage = false;
  bool has_log_probabilities = false;
};

// How pieces follow each other.
enum class Wire {
  kEvents,       // OpenAI: data: {...}, at the end data: [DONE]
  kNamedEvents,  // Anthropic: event: TYPE, data: {...}
  kLines,        // Ollama: a line of JSON each
};

class CompletionWriter : public AnswerListener {
 public:
  CompletionWriter(ReplyPtr reply, bool is_streamed, Wire wire = Wire::kEvents,
                   ErrorBody body_of_errors = serve::error_body)
      : reply_(std::move(reply)),
        is_streamed_(is_streamed),
        wire_(wire),
        error_body_(body_of_errors) {}

  void began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t seed,
             const Place& place) final;
  void wrote(const Written& written, const Place& place) final;
  void evicted(std::int64_t from, std::int64_t to, const Place& place) final;
  void measured(const Guard::Measures& measures, const Place& place) final;
  void noticed(const Notice& notice, const Place& place) final;
  void ended(const Ending& ending, const Place& place) final;

  bool is_continued = false;  // on a stream that held the beginning already
  ErrorBody error_body() const { return error_body_; }

 protected:
  // What was said so far: all of an answer that comes whole, the calls of others.
  struct Said {
    std::string text;
    std::string reasoning;
    std::vector<ToolCall> calls;
    std::vector<TokenInfo> tokens;
  };
  // Pieces of a stream; none: nothing to send. said() has what they tell already.
  virtual std::vector<Json> first_pieces() = 0;
  virtual std::vector<Json> pieces(const Written& written) = 0;
  virtual std::vector<Json> last_pieces(const Ending& ending) = 0;
  virtual Json whole(const Ending& ending) = 0;

  const Said& said() const { return said_; }
  std::int64_t n_cached(const Ending& ending) const { return is_continued ? ending.n_cached : 0; }
  // Tokens of the prompt that began the answer, where they are told before its end.
  std::int64_t n_prompt() const { return n_prompt_; }
  std::int64_t n_cached() const { return is_continued ? n_held_ : 0; }
  Json usage(const Ending& ending) const;  // as OpenAI tells it

  using Clock = std::chrono::steady_clock;
  Clock::time_point asked() const { return asked_; }
  Clock::time_point written() const { return written_; }  // when the first piece came

 private:
  Json told(const Place& place);  // "runnel" of the next piece, with what happened since the last
  void send(Json piece, const Place& place);

  ReplyPtr reply_;
  bool is_streamed_;
  Wire wire_;
  ErrorBody error_body_;
  bool is_begun_ = false;
  Clock::time_point asked_ = Clock::now();
  Clock::time_point written_ = asked_;
  Said said_;
  std::int64_t n_prompt_ = 0, n_held_ = 0;
  // Not told yet.
  std::int64_t evicted_from_ = -1, evicted_to_ = -1;
  std::optional<Guard::Measures> measures_;
  std::vector<Notice> notices_;
  std::string stopped_by_;  // what the guard ended the answer for
};

// All text of the events.
std::string text_of(const Written& written);
const char* finish_reason(const Ending& ending);  // "stop", "length", "tool_calls"

}  // namespace runnel::serve
