// An answer as OpenAI's Responses tell it: the events while it is written, and the object at the
// end, both in the store.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "serve/hub/responses.h"
#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

class ResponseWriter final : public AnswerListener {
 public:
  // `response`: the object as it is when the work begins. `row`: what is kept of it.
  // `conversation`: which its output is an item of; may be empty.
  ResponseWriter(const Services& services, std::shared_ptr<LiveResponse> live, StoredResponse row,
                 const Json& response, std::string conversation, bool is_continued);
  ~ResponseWriter() override;

  // When its turn has come: where the dialogue stands before.
  void set_dialogue(DialogueState state);
  void start();  // response.created; before the answer is asked for
  // In place of that: goes on behind the events of the process before. What they have told of what
  // was written from this position on is not told again.
  void go_on(const std::vector<std::pair<std::int64_t, std::string>>& events, std::int64_t from);
  // Ends what cannot be gone on with.
  void fail(const std::string& why);

  void began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t seed,
             const Place& place) override;
  void wrote(const Written& written, const Place& place) override;
  void evicted(std::int64_t from, std::int64_t to, const Place& place) override;
  void measured(const Guard::Measures& measures, const Place& place) override;
  void noticed(const Notice& notice, const Place& place) override;
  void ended(const Ending& ending, const Place& place) override;

 private:
  struct State;  // JSON
  // A part of the output: a message, thoughts, a call.
  struct Item {
    enum class Kind { kMessage, kReasoning, kCall } kind = Kind::kMessage;
    std::string id;
    std::string text;  // or a call's arguments
    ToolCall call = {};
    std::size_t n_told = 0;     // bytes that events have told before
    std::size_t n_written = 0;  // bytes that were written since
    bool is_told = false, is_told_whole = false;
  };
  void event(const char* type, Json fields, const Place* place);
  void keep_input();
  void open(Item item, const Place& place);
  void add(Item::Kind kind, const AnswerEvent& event, const std::vector<TokenInfo>& tokens,
           const Place& place);
  void close(const char* status, const Place& place);
  static Json json_of(const Item& item, const char* status);
  void finish(const Ending& ending, const Place& place);

  const Services& services_;
  std::shared_ptr<LiveResponse> live_;
  StoredResponse row_;
  std::string conversation_;
  bool is_continued_;
  std::vector<Item> items_;
  bool is_open_ = false;          // the last one
  std::int64_t item_begin_ = -1;  // position of the next one, behind the first
  std::vector<Item> restored_;    // of the process before
  std::unique_ptr<State> state_;
};

}  // namespace runnel::serve
