#include "serve/cluster/redis.h"

#include <fmt/format.h>
#include <hiredis/hiredis.h>

#include <charconv>

#include "runnel/error.h"

namespace runnel::serve {
namespace {

constexpr timeval kTimeout{.tv_sec = 5, .tv_usec = 0};

RedisValue value_of(const redisReply& reply) {
  RedisValue value;
  switch (reply.type) {
    case REDIS_REPLY_INTEGER:
      value.kind = RedisValue::Kind::kNumber;
      value.number = reply.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      value.kind = RedisValue::Kind::kText;
      value.text.assign(reply.str, reply.len);
      break;
    case REDIS_REPLY_ARRAY:
      value.kind = RedisValue::Kind::kList;
      for (std::size_t i = 0; i < reply.elements; ++i)
        value.list.push_back(value_of(*reply.element[i]));
      break;
    default:
      break;
  }
  return value;
}

int number_in(std::string_view text, int otherwise, const std::string& url) {
  if (text.empty()) return otherwise;
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(fmt::format("{}: want redis://[:PASSWORD@]HOST[:PORT][/DATABASE]", url));
  return number;
}

}  // namespace

RedisAddress RedisAddress::parse(const std::string& url) {
  std::string_view rest = url;
  bool is_known = false;
  for (const std::string_view scheme : {"redis://", "valkey://"}) {
    if (!rest.starts_with(scheme)) continue;
    rest.remove_prefix(scheme.size());
    is_known = true;
    break;
  }
  RedisAddress address;
  if (const std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
    const std::string_view user = rest.substr(0, at);
    address.password =
        user.substr(user.find(':') == std::string_view::npos ? user.size() : user.find(':') + 1);
    rest.remove_prefix(at + 1);
  }
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    address.database = number_in(rest.substr(slash + 1), 0, url);
    rest = rest.substr(0, slash);
  }
  if (const std::size_t colon = rest.rfind(':'); colon != std::string_view::npos) {
    address.port = number_in(rest.substr(colon + 1), address.port, url);
    rest = rest.substr(0, colon);
  }
  if (!is_known || rest.empty())
    throw Error(fmt::format("{}: want redis://[:PASSWORD@]HOST[:PORT][/DATABASE]", url));
  address.host = rest;
  return address;
}

struct Redis::Connection {
  struct Free {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  std::unique_ptr<redisContext, Free> context;
};

Redis::Redis(const RedisAddress& address) : address_(address) { connect(); }

Redis::~Redis() = default;

void Redis::connect() {
  connection_.reset();
  auto made = std::make_unique<Connection>();
  made->context.reset(redisConnectWithTimeout(address_.host.c_str(), address_.port, kTimeout));
  const redisContext* const context = made->context.get();
  if (context == nullptr || context->err != 0) {
    throw Error(fmt::format("redis at {}:{}: {}", address_.host, address_.port,
                            context == nullptr ? "no memory" : context->errstr));
  }
  redisSetTimeout(made->context.get(), kTimeout);
  connection_ = std::move(made);
  std::vector<std::vector<std::string>> first;
  if (!address_.password.empty()) first.push_back({"AUTH", address_.password});
  if (address_.database != 0) first.push_back({"SELECT", std::to_string(address_.database)});
  if (!first.empty()) try_commands(first);
}

RedisValue Redis::command(const std::vector<std::string>& words) {
  return std::move(commands({words}).front());
}

std::vector<RedisValue> Redis::commands(const std::vector<std::vector<std::string>>& all) {
  const std::lock_guard lock(mutex_);
  if (!connection_) connect();
  return try_commands(all);
}

std::vector<RedisValue> Redis::try_commands(const std::vector<std::vector<std::string>>& all) {
  redisContext* const context = connection_->context.get();
  for (const std::vector<std::string>& words : all) {
    std::vector<const char*> texts;
    std::vector<std::size_t> lengths;
    for (const std::string& word : words) {
      texts.push_back(word.data());
      lengths.push_back(word.size());
    }
    redisAppendCommandArgv(context, static_cast<int>(words.size()), texts.data(), lengths.data());
  }
  std::vector<RedisValue> values;
  std::string refusal;
  for (std::size_t i = 0; i < all.size(); ++i) {
    void* got = nullptr;
    if (redisGetReply(context, &got) != REDIS_OK) {
      const std::string why = context->errstr;
      connection_.reset();
      throw Error(fmt::format("redis at {}:{}: {}", address_.host, address_.port, why));
    }
    const auto free_reply = [](redisReply* reply) { freeReplyObject(reply); };
    const std::unique_ptr<redisReply, decltype(free_reply)> reply(static_cast<redisReply*>(got),
                                                                  free_reply);
    if (reply->type == REDIS_REPLY_ERROR) refusal.assign(reply->str, reply->len);
    values.push_back(value_of(*reply));
  }
  if (!refusal.empty()) throw Error("redis: " + refusal);
  return values;
}

}  // namespace runnel::serve
