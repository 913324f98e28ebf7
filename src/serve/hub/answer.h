// One piece of work on a channel's stream: text that is read, and what the model then writes, until
// it has finished, a stop text comes, its number of tokens is written, or somebody cancels it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runnel/runnel.h"
#include "serve/guard/guard.h"
#include "serve/hub/answer_text.h"
#include "serve/hub/chat_text.h"
#include "serve/hub/place.h"
#include "serve/hub/series.h"
#include "serve/scheduler/run.h"

namespace runnel::serve {

struct Channel;
class Hub;

// An answer that was under way when the process before ended. Its listener hears of what
// is known of it once more.
struct Resumed {
  std::int64_t n_cached = 0, n_read = 0, n_written = 0;
  std::vector<Token> written;  // the last of them; all before were shown, as text
};

struct AnswerOptions {
  SamplingOptions sampling;
  std::optional<std::uint64_t> seed;        // given: the answer is the same every time
  std::optional<std::int64_t> most_tokens;  // 0: read only; none: until something else ends it
  bool ends_with_model = true;              // false: it writes on where the model has finished
  std::vector<std::string> stops;           // texts that end it, and are not shown
  std::vector<std::string> turn_ends;       // the template's, which end it wherever they stand
  AnswerForm form;                          // how it is taken apart
  std::shared_ptr<const TokenConstraint> constraint;  // what it has to be; null: anything
  bool one_call = false;                              // it ends behind its first call
  std::string begun;       // what an assistant's message said that it goes on with
  bool is_scored = false;  // how likely is what it reads?
  bool wants_log_probabilities = false;
  int n_top = 0;                      // likeliest tokens that are told beside each
  std::optional<GuardOptions> guard;  // none: the server's
  std::optional<Resumed> resumed;
};

struct TokenInfo {
  Token token = 0;
  float log_probability = 0;
  std::vector<std::pair<Token, float>> top;  // the likeliest first
};

// What may be shown, and the tokens that it came with. Calls have an id.
struct Written {
  std::vector<AnswerEvent> events;  // at least one
  std::vector<TokenInfo> tokens;
};

enum class Finish { kStop, kLength, kCancelled, kSteered, kGuard, kFailed };

struct Ending {
  Finish finish = Finish::kStop;
  std::string why;            // of kFailed and kGuard; of kStop the stop text, if one came
  int n_calls = 0;            // of tools
  std::int64_t n_cached = 0;  // tokens that the stream held when the answer began
  std::int64_t n_read = 0;    // tokens read for the answer
  std::int64_t n_written = 0;
  std::int64_t n_reasoning = 0;  // of them, thoughts
  Series read;                   // log probabilities of what was read, where they were wished
};

// The seed that goes on with the random numbers of another one, of which n were drawn. (The
// sampler's state is one number, to which each draw adds the same.)
inline std::uint64_t seed_after(std::uint64_t seed, std::int64_t n, float temperature) {
  constexpr std::uint64_t kDraw = 0x9e3779b97f4a7c15u;
  return temperature > 0 ? seed + static_cast<std::uint64_t>(n) * kDraw : seed;
}

// Hears of an answer, on the scheduler's thread.
class AnswerListener {
 public:
  virtual ~AnswerListener() = default;
  virtual void began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t seed,
                     const Place&) {
    (void)n_cached, (void)n_to_read, (void)seed;
  }
  virtual void reading(std::int64_t n_read, std::int64_t n_to_read, const Place&) {
    (void)n_read, (void)n_to_read;
  }
  virtual void wrote(const Written& written, const Place& place) = 0;
  // The positions [from, to) have left the window.
  virtual void evicted(std::int64_t from, std::int64_t to, const Place&) { (void)from, (void)to; }
  // Of the guard: its measures, now and then, and what it finds wrong.
  virtual void measured(const Guard::Measures& measures, const Place&) { (void)measures; }
  virtual void noticed(const Notice& notice, const Place&) { (void)notice; }
  virtual void ended(const Ending& ending, const Place& place) = 0;
};

class Answer final : public Run {
 public:
  Answer(Hub& hub, Channel& channel, AnswerOptions options,
         std::shared_ptr<AnswerListener> listener);

  // All on the scheduler's thread.
  void cancel() { is_cancelled_ = true; }
  // Ends it because another one takes its place.
  void steer_away() { finish(Finish::kSteered, ""); }

  Stream& stream() override;
  Wish wish() override;
  void read(std::size_t n_tokens) override;
  void scored(std::span<const float> log_probabilities) override;
  void will_step() override;
  void wrote(const Stream::Step& step) override;
  void ended(const std::string& failure) override;

 private:
  friend class Hub;
  // Before the first wish.
  void begin(std::vector<Token> tokens);
  void go_on(const Resumed& resumed);
  void fail_unbegun(const std::string& why);
  void finish(Finish how, std::string why);
  void take(Token token, const std::string& text);
  void add(std::vector<AnswerEvent> events);  // to what is to be shown
  bool has_to_end();
  void constrain();  // the stream, as the answer is from here on
  // Calls the listener; what it throws (a full disk, for one) ends the answer, not the server.
  void tell(const std::function<void(AnswerListener&)>& call);
  // The guard, in answer_guard.cpp.
  void look_at_attention();
  void watch(const Stream::Step& step);
  void act(Trouble trouble, GuardAction action);
  GuardAction possible(GuardAction action) const;
  std::string heat();  // a higher temperature for the rest of the answer; says so
  void rebuild();
  void rebuilt(std::size_t n_tokens);
  bool is_rebuilding() const { return n_again_ < again_.size(); }
  void show();
  void tell_eviction(bool now);

  Hub& hub_;
  Channel& channel_;
  AnswerOptions options_;
  std::shared_ptr<AnswerListener> listener_;
  AnswerText text_;
  std::unique_ptr<TokenConstraint> constraint_;  // as far as the answer is; the stream has another
  std::vector<Token> to_read_;
  std::size_t n_taken_ = 0;  // of to_read_
  Ending ending_;
  bool is_begun_ = false;
  bool is_cancelled_ = false;
  bool is_finished_ = false;
  TokenInfo next_;  // the likeliest tokens at the step to come
  Written unshown_;
  std::int64_t told_evicted_ = 0;
  std::uint64_t seed_ = 0;
  std::int64_t n_written_before_ = 0;  // by the process before
  bool wants_rebuild_ = false;
  std::vector<Token> again_;  // to be read once more, into the new cache
  std::size_t n_again_ = 0;   // of again_
  std::int64_t rebuilt_at_ = -1;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();  // last token
};

}  // namespace runnel::serve
