// A stream under a name: in memory, on its way, or parked in a file. All on the scheduler's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runnel/runnel.h"
#include "serve/guard/guard.h"
#include "serve/hub/chat_text.h"
#include "serve/hub/place.h"
#include "serve/hub/recent_tokens.h"
#include "serve/hub/speed.h"

namespace runnel::serve {

class Answer;

struct Channel {
  enum class Kind {
    kConversation,  // opened by a client, who names it
    kChain,         // of responses
    kCompletion,    // of requests that bring their whole history
    kPassing,  // of a response that is not kept: it goes with its last answer, unless it is held
  };
  enum class State { kAwake, kWaking, kParking, kParked };
  // Makes the tokens that an answer reads from where the stream then stands; where it takes long,
  // on the side thread.
  using Reading = std::function<std::vector<Token>()>;

  std::string id;
  Kind kind = Kind::kConversation;
  State state = State::kWaking;
  StreamOptions options;  // resolved
  std::size_t bytes = 0;  // that the stream takes
  std::optional<Stream> stream;
  Place place;  // where it stood when it was last seen
  DialogueState dialogue = DialogueState::kFresh;
  std::vector<ToolCall> calls;  // of the last answer
  std::string head;             // the last response on it
  std::string system;           // the system prompt that it last read
  std::string ran_on;           // what ran it in the process before; empty: this process has it
  bool is_begun = false;        // tokens were read, so that no more beginning of a text is needed
  bool is_in_file = false;      // a snapshot of it was written once
  std::int64_t kept_from = 0;   // the store has the tokens from this position on
  bool is_replaying = false;    // tokens that the store has already
  bool is_checkpointing = false;
  bool wants_snapshot = false;  // as soon as there can be one
  bool is_stuck = false;        // it could not be parked
  bool is_held = false;         // a connection may go on with it, though nobody else can
  bool is_lost = false;         // it is another process's: nothing of it is removed
  // Since when another process waits for it, while the answer at hand is written.
  std::optional<std::chrono::steady_clock::time_point> wanted_since;
  bool is_dropped = false;  // nobody finds it any more; it goes when its last answer has ended
  Guard guard;
  Speed reading, writing;
  RecentTokens recent;

  struct Pending {
    std::shared_ptr<Answer> answer;
    std::function<Reading()> prepare;  // on the scheduler's thread, when its turn comes
  };
  std::deque<Pending> queue;  // the first one is under way, or waits for the stream

  // Of completions: the whole history, evicted or not.
  bool is_chat = false;
  std::string text;  // of a chat, its transcript
  std::vector<Token> tokens;
  int n_turns = 0;
  bool is_copy = false;  // of a stream that went on; goes first where memory is wanted

  std::int64_t created = 0;  // seconds since 1970
  std::chrono::steady_clock::time_point last_used = std::chrono::steady_clock::now();

  bool is_idle() const { return queue.empty() && state == State::kAwake; }
};

}  // namespace runnel::serve
