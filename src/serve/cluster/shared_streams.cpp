#include "serve/cluster/shared_streams.h"

#include <fmt/format.h>

#include <utility>

#include "runnel/error.h"

namespace runnel::serve {
namespace {

// KEYS: fence, owner, rows, wanted. ARGV: owner, lease, whether it is to be new. Returns the
// fencing number; 0: taken; -1: there is none (or, where it is to be new, there is one).
constexpr const char* kClaim = R"(
local known = redis.call('exists', KEYS[3]) == 1
if known == (ARGV[3] == '1') then return -1 end
local owner = redis.call('get', KEYS[2])
if owner and owner ~= ARGV[1] then
  redis.call('set', KEYS[4], ARGV[1], 'px', 5000)
  return 0
end
redis.call('set', KEYS[2], ARGV[1], 'px', ARGV[2])
redis.call('del', KEYS[4])
return redis.call('incr', KEYS[1]))";

// KEYS: fence, owner, wanted. ARGV: number, owner, lease. 0: lost; 1: longer; 2: and wanted.
constexpr const char* kRenew = R"(
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[2], 'px', ARGV[3])
return 1 + redis.call('exists', KEYS[3]))";

// KEYS: fence, owner. ARGV: number.
constexpr const char* kRelease = R"(
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[2])
return 1)";

// KEYS: fence, then those of the command. ARGV: number, command, then its other words.
constexpr const char* kFenced = R"(
if redis.call('get', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED the stream has another owner')
end
local words = {ARGV[2]}
for i = 2, #KEYS do words[#words + 1] = KEYS[i] end
for i = 3, #ARGV do words[#words + 1] = ARGV[i] end
return redis.call(unpack(words)))";

constexpr std::size_t kWordsAtOnce = 4000;  // of a command in a script

std::string key(const std::string& stream, const char* what) {
  return fmt::format("runnel:{{{}}}:{}", stream, what);
}

std::string key_of_response(const std::string& response) { return "runnel:response:" + response; }

// By which a row's response is found; empty: the row is no response's.
std::string response_key(const std::string& row) {
  constexpr std::string_view kResponseRow = "response ";
  return row.starts_with(kResponseRow) ? key_of_response(row.substr(kResponseRow.size())) : "";
}

constexpr const char* kConversationRow = "conversation";
constexpr const char* kConversations = "runnel:conversations";

std::string microseconds_text() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

std::vector<std::string> fenced(const std::string& stream, const std::string& number,
                                const char* command, const std::vector<std::string>& keys,
                                const std::vector<std::string>& words) {
  std::vector<std::string> all = {"EVAL", kFenced, std::to_string(1 + keys.size()),
                                  key(stream, "fence")};
  all.insert(all.end(), keys.begin(), keys.end());
  all.insert(all.end(), {number, command});
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

}  // namespace

SharedStreams::SharedStreams(const RedisAddress& address, std::string owner,
                             std::chrono::milliseconds lease)
    : rows_(address),
      leases_(address),
      owner_(std::move(owner)),
      lease_(std::to_string(lease.count())) {}

// What kClaim returns.
std::int64_t SharedStreams::claim_by(Redis& redis, const std::string& stream, bool is_new) {
  return redis
      .command({"EVAL", kClaim, "4", key(stream, "fence"), key(stream, "owner"),
                key(stream, "rows"), key(stream, "wanted"), owner_, lease_, is_new ? "1" : "0"})
      .number;
}

SharedStreams::Claim SharedStreams::claim(const std::string& stream) {
  const std::int64_t number = claim_by(leases_, stream, false);
  if (number == 0) return Claim::kTaken;
  if (number < 0) return Claim::kUnknown;
  const std::lock_guard lock(mutex_);
  numbers_[stream] = std::to_string(number);
  return Claim::kMine;
}

std::optional<std::string> SharedStreams::number_of(const std::string& stream) const {
  const std::lock_guard lock(mutex_);
  const auto at = numbers_.find(stream);
  if (at == numbers_.end()) return std::nullopt;
  return at->second;
}

std::string SharedStreams::number_for(const std::string& stream) {
  if (const auto known = number_of(stream)) return *known;
  const std::int64_t number = claim_by(rows_, stream, true);
  if (number <= 0) throw Error(fmt::format("{}: another server has the stream now", stream));
  const std::lock_guard lock(mutex_);
  return numbers_[stream] = std::to_string(number);
}

void SharedStreams::release(const std::string& stream) {
  const auto number = number_of(stream);
  if (!number) return;
  {
    const std::lock_guard lock(mutex_);
    numbers_.erase(stream);
  }
  leases_.command({"EVAL", kRelease, "2", key(stream, "fence"), key(stream, "owner"), *number});
}

std::string SharedStreams::stream_of(const std::string& response) {
  return leases_.command({"GET", key_of_response(response)}).text;
}

StreamRows SharedStreams::rows(const std::string& stream) {
  StreamRows rows;
  RedisValue all = leases_.command({"HGETALL", key(stream, "rows")});
  for (std::size_t i = 0; i + 1 < all.list.size(); i += 2)
    rows[std::move(all.list[i].text)] = std::move(all.list[i + 1].text);
  return rows;
}

std::vector<StoredConversation> SharedStreams::conversations(const Page& page) {
  std::int64_t first = 0;
  if (!page.after.empty()) {
    const RedisValue rank =
        leases_.command({page.is_descending ? "ZREVRANK" : "ZRANK", kConversations, page.after});
    if (rank.kind != RedisValue::Kind::kNumber) return {};
    first = rank.number + 1;
  }
  const RedisValue ids =
      leases_.command({page.is_descending ? "ZREVRANGE" : "ZRANGE", kConversations,
                       std::to_string(first), std::to_string(first + page.limit - 1)});
  std::vector<std::vector<std::string>> commands;
  for (const RedisValue& id : ids.list)
    commands.push_back({"HGET", key(id.text, "rows"), kConversationRow});
  std::vector<StoredConversation> found;
  if (commands.empty()) return found;
  for (const RedisValue& row : leases_.commands(commands)) {
    if (row.kind == RedisValue::Kind::kText) found.push_back(conversation_of_row(row.text));
  }
  return found;
}

SharedStreams::Renewal SharedStreams::renew() {
  std::vector<std::string> streams;
  std::vector<std::vector<std::string>> commands;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [stream, number] : numbers_) {
      streams.push_back(stream);
      commands.push_back({"EVAL", kRenew, "3", key(stream, "fence"), key(stream, "owner"),
                          key(stream, "wanted"), number, owner_, lease_});
    }
  }
  Renewal renewal;
  if (commands.empty()) return renewal;
  const std::vector<RedisValue> values = leases_.commands(commands);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i].number == 2) renewal.wanted.push_back(streams[i]);
    if (values[i].number != 0) continue;
    const std::lock_guard lock(mutex_);
    // It may have been released, or claimed again, meanwhile.
    const auto at = numbers_.find(streams[i]);
    if (at == numbers_.end() || at->second != commands[i][6]) continue;
    numbers_.erase(at);
    renewal.lost.push_back(streams[i]);
  }
  return renewal;
}

void SharedStreams::put(const std::string& stream, const std::string& row,
                        const std::string& value) {
  const std::string number = number_for(stream);
  std::vector<std::vector<std::string>> commands = {
      fenced(stream, number, "HSET", {key(stream, "rows")}, {row, value})};
  if (row == kConversationRow)
    commands.push_back({"ZADD", kConversations, "NX", microseconds_text(), stream});
  if (const std::string found_by = response_key(row); !found_by.empty())
    commands.push_back({"SET", found_by, stream});
  rows_.commands(commands);
}

void SharedStreams::drop(const std::string& stream, const std::vector<std::string>& rows) {
  const auto number = number_of(stream);
  if (!number) return;
  std::vector<std::vector<std::string>> commands;
  for (std::size_t i = 0; i < rows.size(); i += kWordsAtOnce) {
    const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(i);
    const auto end = begin + std::min<std::ptrdiff_t>(kWordsAtOnce, rows.end() - begin);
    commands.push_back(
        fenced(stream, *number, "HDEL", {key(stream, "rows")}, std::vector(begin, end)));
  }
  for (const std::string& row : rows) {
    if (const std::string found_by = response_key(row); !found_by.empty())
      commands.push_back({"DEL", found_by});
  }
  rows_.commands(commands);
}

// The number stays, so that nobody else's old one is ever good again.
void SharedStreams::drop_all(const std::string& stream) {
  const auto number = number_of(stream);
  if (!number) return;
  std::vector<std::vector<std::string>> commands;
  for (const auto& [row, value] : rows(stream)) {
    if (const std::string found_by = response_key(row); !found_by.empty())
      commands.push_back({"DEL", found_by});
  }
  commands.push_back({"ZREM", kConversations, stream});
  commands.insert(commands.begin(),
                  fenced(stream, *number, "DEL",
                         {key(stream, "rows"), key(stream, "snapshot"), key(stream, "owner")}, {}));
  rows_.commands(commands);
  const std::lock_guard lock(mutex_);
  numbers_.erase(stream);
}

void SharedStreams::save(const std::string& id, const Stream& stream) {
  const std::vector<std::byte> bytes = stream.save_bytes();
  leases_.command(fenced(id, number_for(id), "SET", {key(id, "snapshot")},
                         {std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())}));
}

Stream SharedStreams::load(const Model& model, const std::string& id) {
  const RedisValue found = leases_.command({"GET", key(id, "snapshot")});
  if (found.kind != RedisValue::Kind::kText)
    throw Error(fmt::format("{}: there is no snapshot of the stream", id));
  return model.resume(std::as_bytes(std::span(found.text)));
}

void SharedStreams::remove(const std::string& id) {
  if (const auto number = number_of(id))
    leases_.command(fenced(id, *number, "DEL", {key(id, "snapshot")}, {}));
}

}  // namespace runnel::serve
