// The streams by name: opened, forked, answered, parked and brought back within a bound of memory.
//
// Everything here runs on the scheduler's thread; others get there by Scheduler::post(). What takes
// long (taking memory, tokens from text, snapshots) goes to the side thread and comes back.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/answer_constraints.h"
#include "runnel/runnel.h"
#include "serve/guard/guard.h"
#include "serve/hub/answer.h"
#include "serve/hub/channel.h"
#include "serve/hub/chat_text.h"
#include "serve/hub/histogram.h"
#include "serve/hub/snapshots.h"
#include "serve/scheduler/scheduler.h"
#include "serve/scheduler/side_thread.h"
#include "serve/store/store.h"

namespace runnel::serve {

// There is no memory for one more stream now.
class Busy : public Error {
 public:
  using Error::Error;
};

struct HubOptions {
  StreamOptions stream;          // of new streams
  std::string template_name;     // empty: the model's own
  std::size_t memory_bytes = 0;  // of all streams in memory
  std::filesystem::path folder;  // for parked streams; empty: nothing is parked
  bool is_durable = false;       // streams in the folder are there for the next process
  // Of streams that several processes share; null: the folder is all there is. One that is parked
  // is let go, and has gone from here.
  Snapshots* shared = nullptr;
  std::function<void(const std::string& stream)> let_go;
  std::size_t parked_bytes = std::size_t{8} << 30;  // of parked streams that have no name
  std::chrono::seconds idle{300};                   // then a stream is parked, where it can be
  GuardOptions guard;
};

class Hub {
 public:
  struct Counters {
    std::size_t streams = 0, awake = 0, answers = 0, bytes = 0;
    std::uint64_t evicted = 0, loops = 0, drifts = 0, rebuilt = 0, parked = 0, woken = 0;
  };

  Hub(const Model& model, Scheduler& scheduler, Store& store, HubOptions options);
  ~Hub();

  // A new stream whose first tokens are never forgotten. Error: Busy.
  Channel& open(Channel::Kind kind, std::string id, std::vector<Token> pinned);
  Channel* find(const std::string& id);
  // Another stream that stands where this one stands now; `done` is called when it is safe where
  // streams outlive the process. Error: Busy, or the stream is at work.
  Channel& fork(Channel& channel, Channel::Kind kind, std::string id, std::function<void()> done);
  // Its answers are cancelled.
  void drop(Channel& channel);
  // The connection that held it is gone.
  void release(Channel& channel);
  // The response is known no more; a stream that only it leads to goes with it.
  void forget_response(const std::string& response, const std::string& channel);

  // Reads what `prepare` gives and writes; behind the channel's other answers. Error: Busy.
  std::shared_ptr<Answer> answer(Channel& channel, AnswerOptions options,
                                 std::shared_ptr<AnswerListener> listener,
                                 std::function<Channel::Reading()> prepare);

  // The idle completion that holds the longest beginning of this history, with at least one turn of
  // an answer in it; null: none. `text` is a transcript (chats), or empty: by tokens.
  Channel* holding(const std::string& text, std::span<const Token> tokens);

  // Before a request goes on with a history on this stream: leaves a copy where it stands, as far
  // as there is memory that nobody wants, so that another request may go on from there too. (Chat
  // pages ask for titles between two turns.)
  void leave_copy(Channel& channel);

  // Cancels all answers, parks what can be parked, and calls `done`.
  void close(std::function<void()> done);
  // Before anything else: the streams that outlived the process before.
  void restore();
  // One stream that outlived a process.
  void adopt(const StoredStream& row);
  // A request that was not read to its end: the stream, which is not in memory, stands where it
  // stood before.
  void take_back(Channel& channel, const StoredResponse& request);
  // Somebody else wants the stream: it is let go when it is idle.
  void hand_over(const std::string& id);
  // Somebody else has the stream: its answers end here.
  void lose(const std::string& id);
  // What is known of the channel goes to the store, where streams outlive the process.
  void remember(const Channel& channel);
  void tick();

  const Model& model() const { return model_; }
  const Tokenizer& vocabulary() const;
  // Whether some of these tokens (a bit each) ends no text.
  bool may_go_on(std::span<const std::uint64_t> tokens) const;
  const Dialogues& chat() const { return chat_; }
  const AnswerConstraints& constraints()
      const;  // made when they are first asked for; from any thread
  const HubOptions& options() const { return options_; }
  const std::map<std::string, std::unique_ptr<Channel>>& channels() const { return channels_; }
  Counters counters() const;
  const Histogram& first_token() const { return first_token_; }
  const Histogram& next_token() const { return next_token_; }
  std::uint64_t random_seed() { return random_(); }

  // From answers.
  void keep(Channel& channel, std::span<const Token> tokens);
  void keep_said(Channel& channel, const Message& answer);
  std::string call_id();
  void finished(Channel& channel);
  // Where much was written since the last snapshot, there is a new one. What was written until now
  // has been shown.
  void checkpoint_if_due(Channel& channel);
  void count(Trouble trouble) {
    ++(trouble == Trouble::kLoop ? counters_.loops : counters_.drifts);
  }
  void rebuilt(Channel& channel);  // its cache was made anew
  void count_token(double seconds, bool is_first) {
    (is_first ? first_token_ : next_token_).add(seconds);
  }
  void count_evicted(std::int64_t n) { counters_.evicted += static_cast<std::uint64_t>(n); }

 private:
  // Does long work on the side thread, then calls `done` here: with what went wrong, or "".
  void on_the_side(std::function<void()> work,
                   std::function<void(const std::string& failure)> done);
  StreamOptions options_for(const std::vector<Token>& pinned) const;
  StreamOptions options_of(const StoredStream& row) const;  // as it was opened
  static int worth(const Channel& channel);
  std::vector<Channel*> idle_ones(const Channel* but) const;
  void make_room(std::size_t bytes, const Channel* but = nullptr);
  void admit();
  bool free_one_for(const Channel& next);
  void wake(Channel& channel);
  void bring(Channel& channel);
  void came(const std::string& id, std::optional<Stream> stream, const std::string& failure);
  void park(Channel& channel);
  void parked(const std::string& id, std::optional<Stream> stream, const std::string& failure);
  void begin_first(Channel& channel);
  void erase(Channel& channel);
  bool erase_if_dropped(Channel& channel);
  void close_when_quiet();
  Snapshots& snapshots_of(const Channel& channel);
  void remove_snapshot(const Channel& channel);
  bool can_park(const Channel& channel) const;
  bool is_kept(const Channel& channel) const;  // beyond the process
  void checkpoint(Channel& channel, std::function<void()> done);
  // Its file has all up to this position.
  void saved(Channel& channel, std::int64_t position);
  void replay(Channel& channel);
  void tell_other_device(Channel& channel) const;
  void drop_longest_parked();
  void remove_strays();

  const Model& model_;
  Scheduler& scheduler_;
  Store& store_;
  HubOptions options_;
  SnapshotFolder folder_;
  std::string runs_on_;  // the device and its kernels
  Dialogues chat_;
  std::vector<std::uint64_t> ends_;  // tokens that end a text, a bit each
  mutable std::once_flag constraints_once_;
  mutable std::unique_ptr<AnswerConstraints> constraints_;
  std::map<std::string, std::unique_ptr<Channel>> channels_;
  std::deque<std::string> waiting_;  // ids of channels that wait for memory
  std::size_t bytes_used_ = 0;       // by streams in memory, or on their way
  std::size_t bytes_wanted_ = 0;     // by those that wait
  std::size_t bytes_leaving_ = 0;    // of those that are being parked
  Counters counters_;
  Histogram first_token_, next_token_;
  std::mt19937_64 random_{std::random_device{}()};
  std::function<void()> closed_;
  SideThread side_;
};

}  // namespace runnel::serve
