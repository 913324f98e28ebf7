// What was said, in SQLite: conversations and their items, responses and their events, and where
// the streams stand. Without a folder all of it is in memory.
//
// From any thread. Each call is one transaction, written before it returns: what a client was told
// survives the process. (Of a power cut the last moments may be lost; the database stays whole.)
// JSON is kept as text and not looked into. Error: the disk, or a database of a later version.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runnel/options.h"
#include "serve/store/store_mirror.h"

namespace runnel::serve {

struct StoredConversation {
  std::string id;
  std::int64_t created = 0;
  std::string metadata = "{}";
};

struct StoredItem {
  std::string id;
  std::string json;
};

struct StoredResponse {
  std::string id;
  std::string channel;   // the stream that it was written on
  std::string previous;  // response; may be empty
  std::string request;   // a digest of what was asked
  std::string status;    // "in_progress", "completed", ...
  std::int64_t created = 0;
  std::string input;             // items, a JSON list
  std::string body;              // the response object
  std::string asked;             // the request, while it is answered
  std::int64_t begin = 0;        // position of the stream before the request
  std::int64_t dialogue = -1;    // where the dialogue stood then; -1: its turn has not come
  std::int64_t read_until = -1;  // position where the answer begins; -1: not known yet
  std::uint64_t seed = 0;        // of the answer's random numbers
};

// How much of what was said is kept; what is oldest goes first.
struct Retention {
  std::int64_t seconds = 0;  // 0: however old
  std::int64_t bytes = 0;    // 0: however much
};

// Where a stream stands, beside its snapshot and the tokens since.
struct StoredStream {
  std::string id;
  std::int64_t kind = 0;
  std::int64_t created = 0;
  std::int64_t sinks = 0;
  std::int64_t window = 0;
  std::int64_t dialogue = 0;
  bool is_begun = false;
  bool has_snapshot = false;
  std::string head;
  std::string system;
  std::string shape;  // what else its numbers depend on, JSON; empty: an earlier version wrote it
};

// A row "conversation", as mirrors are told of it. Error: it is none.
StoredConversation conversation_of_row(const std::string& row);

// A part of a list, as lists are asked for: after an id, at most so many.
struct Page {
  std::string after;
  int limit = 20;
  bool is_descending = true;
};

class Store {
 public:
  explicit Store(const std::filesystem::path& folder);  // empty: in memory
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  void put(const StoredConversation& conversation);
  std::optional<StoredConversation> conversation(const std::string& id);
  std::vector<StoredConversation> conversations(const Page& page);
  bool drop_conversation(const std::string& id);  // and its items

  void add_items(const std::string& conversation, const std::vector<StoredItem>& items);
  void copy_items(const std::string& from, const std::string& to);
  std::vector<StoredItem> items(const std::string& conversation, const Page& page);
  std::optional<StoredItem> item(const std::string& conversation, const std::string& id);
  void update_item(const std::string& conversation, const StoredItem& item);
  bool drop_item(const std::string& conversation, const std::string& id);

  void put(const StoredResponse& response);  // new, or in place of what it was
  std::optional<StoredResponse> response(const std::string& id);
  // The latest to the same request behind the same response, on the same channel where one is
  // named.
  std::optional<StoredResponse> response_to(const std::string& previous, const std::string& channel,
                                            const std::string& request);
  std::vector<StoredResponse> responses_with_status(const std::string& status);
  bool drop_response(const std::string& id);  // and its events
  // Those that have ended, whose ids begin so, made before `end` (seconds).
  void drop_responses(const std::string& prefix, std::int64_t end);

  void put(const StoredStream& stream);
  std::vector<StoredStream> streams();
  void drop_stream(const std::string& id);  // and its tokens
  // The tokens of a stream since its snapshot; `position` is that of the first.
  void add_tokens(const std::string& stream, std::int64_t position, std::span<const Token> tokens);
  std::vector<Token> tokens(const std::string& stream, std::int64_t from);
  std::int64_t begin_of_tokens(const std::string& stream);  // position of the first; 0: none
  std::int64_t end_of_tokens(const std::string& stream);    // position behind the last; 0: none
  // The stream has come to this position, though no token behind it may be known.
  void mark_position(const std::string& stream, std::int64_t position);
  void drop_tokens_before(const std::string& stream, std::int64_t position);
  void drop_tokens_from(const std::string& stream, std::int64_t position);

  void add_event(const std::string& response, std::int64_t number, const std::string& event);
  void drop_events(const std::string& response, std::int64_t end);  // those before `end`
  std::int64_t n_events(const std::string& response);  // one more than the last one's number
  // Those numbered first <= number < end, in order, at most so many; -1: all.
  std::vector<std::pair<std::int64_t, std::string>> events(const std::string& response,
                                                           std::int64_t first, std::int64_t end,
                                                           std::int64_t most = -1);

  // Drops some of what is more than that: responses that have ended, with their events, and items
  // of conversations; at last the first events of responses that go on. Called again and again it
  // comes to the end. What a stream stands on stays. The responses that went, without their bodies.
  std::vector<StoredResponse> prune(const Retention& retention, std::int64_t now);
  std::int64_t bytes();  // that hold something

  // Who hears of every row of a stream that is written or dropped; null: nobody. Before other
  // threads use the store.
  void set_mirror(StoreMirror* mirror) { mirror_ = mirror; }
  // The rows of a stream that a mirror was told of, in place of all that is known of it here. The
  // mirror is not told.
  void take(const std::string& stream, const StreamRows& rows);
  // All that is known of a stream goes, and the mirror is not told.
  void forget(const std::string& stream);
  std::optional<StoredStream> stream(const std::string& id);

 private:
  struct Database;
  void write(const StoredConversation& conversation);
  void write(const StoredResponse& response);
  void write(const StoredStream& stream);
  void write_item(const std::string& conversation, const StoredItem& item, std::int64_t created);
  void write_event(const std::string& response, std::int64_t number, const std::string& event);
  void write_tokens(const std::string& stream, std::int64_t position, const std::string& bytes);
  void tell_item(const std::string& conversation, const std::string& id);
  void tell_dropped(const std::string& stream, const std::vector<std::string>& rows);
  std::string channel_of(const std::string& response);
  std::size_t drop_old_responses(std::int64_t end, std::vector<StoredResponse>& dropped);
  bool drop_old_items(std::int64_t end);
  bool drop_first_events();
  std::vector<std::string> event_rows(const std::string& response, std::int64_t end);
  void drop_tokens(const std::string& stream, const char* condition, std::int64_t position);

  std::unique_ptr<Database> database_;
  StoreMirror* mirror_ = nullptr;
};

}  // namespace runnel::serve
