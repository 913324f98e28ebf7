// The store, in memory and in a folder.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runnel/error.h"
#include "serve/store/sqlite.h"
#include "serve/store/store.h"
#include "support/temp_dir.h"

namespace runnel::serve {
namespace {

TEST(Store, GivesListsInPages) {
  Store store({});
  std::vector<StoredItem> items;
  for (int i = 0; i < 10; ++i) items.push_back({"item" + std::to_string(i), "{}"});
  store.add_items("c", items);
  store.add_items("other", {{"item0", "[]"}});
  const auto ids = [&](const Page& page) {
    std::string text;
    for (const StoredItem& item : store.items("c", page)) text += item.id.back();
    return text;
  };
  EXPECT_EQ(ids({.limit = 4, .is_descending = false}), "0123");
  EXPECT_EQ(ids({.after = "item3", .limit = 4, .is_descending = false}), "4567");
  EXPECT_EQ(ids({.limit = 3}), "987");
  EXPECT_EQ(ids({.after = "item7", .limit = 20}), "6543210");
  EXPECT_TRUE(store.drop_item("c", "item5"));
  EXPECT_FALSE(store.drop_item("c", "item5"));
  EXPECT_EQ(ids({.after = "item7", .limit = 3}), "643");
}

TEST(Store, KeepsEverythingForTheNextProcess) {
  const test::TempDir folder;
  const std::vector<Token> tokens = {1, 2, 3};
  {
    Store store(folder.path());
    store.put(StoredConversation{"c", 5, R"({"a":"b"})"});
    store.put(StoredResponse{.id = "r", .channel = "c", .request = "q", .status = "in_progress"});
    store.add_event("r", 0, "zero");
    store.add_event("r", 1, "one");
    store.put(StoredStream{.id = "c", .sinks = 9, .head = "r"});
    store.add_tokens("c", 10, tokens);
    store.add_tokens("c", 13, tokens);
  }
  Store store(folder.path());
  EXPECT_EQ(store.conversation("c")->metadata, R"({"a":"b"})");
  EXPECT_EQ(store.responses_with_status("in_progress").size(), 1u);
  EXPECT_EQ(store.response_to("", "c", "q")->id, "r");
  EXPECT_EQ(store.n_events("r"), 2);
  EXPECT_EQ(store.events("r", 1, 9).front().second, "one");
  EXPECT_EQ(store.streams().front().sinks, 9);
  EXPECT_EQ(store.tokens("c", 0), (std::vector<Token>{1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(store.tokens("c", 12), (std::vector<Token>{3, 1, 2, 3}));
  EXPECT_EQ(store.end_of_tokens("c"), 16);
  store.drop_tokens_before("c", 13);
  EXPECT_EQ(store.tokens("c", 0), tokens);
  EXPECT_EQ(store.begin_of_tokens("c"), 13);
  store.drop_tokens_from("c", 13);
  EXPECT_EQ(store.end_of_tokens("c"), 0);
  store.mark_position("c", 16);
  EXPECT_EQ(store.begin_of_tokens("c"), 16);
  EXPECT_EQ(store.end_of_tokens("c"), 16);
  store.add_tokens("c", 16, tokens);
  store.mark_position("c", 16);
  EXPECT_EQ(store.tokens("c", 0), tokens);
  EXPECT_TRUE(store.drop_response("r"));
  EXPECT_EQ(store.n_events("r"), 0);
}

// As the first version made it.
constexpr const char* kVersion1 = R"(
create table conversations(
  number integer primary key autoincrement, id text not null unique, created integer not null,
  metadata text not null);
create table items(
  number integer primary key autoincrement, conversation text not null, id text not null,
  json text not null);
create unique index items_by_id on items(conversation, id);
create index items_by_conversation on items(conversation, number);
create table responses(
  number integer primary key autoincrement, id text not null unique, channel text not null,
  previous text not null, request text not null, status text not null, created integer not null,
  input text not null, body text not null, asked text not null, begin integer not null,
  read_until integer not null, seed integer not null, dialogue integer not null);
create table events(
  response text not null, number integer not null, event text not null,
  primary key(response, number)) without rowid;
create table streams(
  id text primary key, kind integer not null, created integer not null, sinks integer not null,
  window integer not null, dialogue integer not null, is_begun integer not null,
  has_snapshot integer not null, head text not null, system text not null) without rowid;
create table tokens(
  stream text not null, position integer not null, n integer not null, tokens blob not null,
  primary key(stream, position)) without rowid;
insert into conversations(id, created, metadata) values('c', 5, '{"a":"b"}');
insert into items(conversation, id, json) values('c', 'first', '{}'), ('c', 'second', '[]');
insert into responses(id, channel, previous, request, status, created, input, body, asked, begin,
  read_until, seed, dialogue) values('r', 'c', '', 'q', 'completed', 5, '[]', '{}', '', 0, 3, 1, 2);
insert into events values('r', 0, 'zero');
insert into streams values('c', 0, 5, 9, 60, 2, 1, 1, 'r', 'Be brief.');
pragma user_version = 1;
)";

TEST(Store, TakesWhatTheVersionBeforeWrote) {
  const test::TempDir folder;
  Sqlite((folder.path() / "runnel.sqlite").string()).execute(kVersion1);
  for (int time = 0; time < 2; ++time) {  // it is taken once, and is of this version then
    Store store(folder.path());
    EXPECT_EQ(store.conversation("c")->metadata, R"({"a":"b"})");
    EXPECT_EQ(store.items("c", {.is_descending = false}).size(), 2u + static_cast<unsigned>(time));
    EXPECT_EQ(store.items("c", {.is_descending = false})[1].json, "[]");
    EXPECT_EQ(store.response_to("", "c", "q")->id, "r");
    EXPECT_EQ(store.events("r", 0, 9).front().second, "zero");
    EXPECT_EQ(store.streams().front().system, "Be brief.");
    EXPECT_EQ(store.streams().front().shape, "");
    store.add_items("c", {{"new" + std::to_string(time), "{}"}});
    store.put(StoredStream{.id = "d", .head = "r", .shape = "{}"});
    EXPECT_EQ(store.stream("d")->shape, "{}");
  }
  Store store(folder.path());
  store.prune({.seconds = 1}, 1 << 30);  // old items are of no known time, and old enough
  EXPECT_EQ(store.items("c", {.is_descending = false}).size(), 2u);
}

TEST(Store, TakesWhatTheSecondVersionWrote) {
  const test::TempDir folder;
  {
    Sqlite db((folder.path() / "runnel.sqlite").string());
    db.execute(kVersion1);
    db.execute("alter table items add column created integer not null default 0");
    db.execute("pragma user_version = 2");
  }
  Store store(folder.path());
  EXPECT_EQ(store.streams().front().window, 60);
  EXPECT_EQ(store.streams().front().shape, "");
}

TEST(Store, RefusesALaterVersionByName) {
  const test::TempDir folder;
  const std::string path = (folder.path() / "runnel.sqlite").string();
  Sqlite(path).execute("pragma user_version = 4");
  try {
    Store store(folder.path());
    FAIL() << "it took a store of a later version";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find(path), std::string::npos);
    EXPECT_NE(text.find("found 4"), std::string::npos);
  }
}

void say_much(Store& store, int n, const char* status) {
  const std::string text(2000, 'x');
  for (int i = 0; i < n; ++i) {
    const std::string id = status + std::to_string(i);
    store.put(StoredResponse{.id = id, .channel = "c", .status = status, .created = i});
    for (int event = 0; event < 20; ++event) store.add_event(id, event, text);
    store.add_items("c", {{id, text}});
  }
}

void prune_all(Store& store, const Retention& retention, std::int64_t now = 0) {
  for (int i = 0; i < 1000; ++i) store.prune(retention, now);
}

TEST(Store, ForgetsWhatIsOldestWhereItIsTooMuch) {
  Store store({});
  say_much(store, 200, "completed");
  const std::int64_t all = store.bytes();
  EXPECT_GT(all, 200 * 20 * 2000);
  prune_all(store, {});
  EXPECT_EQ(store.bytes(), all);
  prune_all(store, {.bytes = all / 2});
  EXPECT_LE(store.bytes(), all / 2);
  EXPECT_FALSE(store.response("completed0"));
  EXPECT_EQ(store.n_events("completed0"), 0);
  EXPECT_TRUE(store.response("completed199"));
  say_much(store, 400, "completed");
  prune_all(store, {.bytes = all / 2});
  EXPECT_LE(store.bytes(), all / 2);
}

TEST(Store, ForgetsTheFirstEventsOfResponsesThatNeverEnd) {
  Store store({});
  store.put(StoredResponse{.id = "r", .channel = "c", .status = "in_progress"});
  const std::string text(400, 'x');
  for (int i = 0; i < 20000; ++i) store.add_event("r", i, text);
  prune_all(store, {.bytes = 2 << 20});
  EXPECT_LE(store.bytes(), 2 << 20);
  EXPECT_TRUE(store.response("r"));
  EXPECT_EQ(store.n_events("r"), 20000);
  EXPECT_EQ(store.events("r", 19000, 19001).size(), 1u);
  EXPECT_TRUE(store.events("r", 0, 1000).empty());
}

TEST(Store, ForgetsWhatIsOlderThanWanted) {
  Store store({});
  say_much(store, 100, "completed");
  say_much(store, 1, "in_progress");
  prune_all(store, {.seconds = 50}, 120);
  EXPECT_FALSE(store.response("completed69"));
  EXPECT_TRUE(store.response("completed70"));
  EXPECT_TRUE(store.response("in_progress0"));
}

}  // namespace
}  // namespace runnel::serve
