#include "serve/protocols/feeds.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "serve/hub/responses.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/items.h"
#include "serve/protocols/retries.h"

namespace runnel::serve {
namespace {

Json likelihood_json(const Series& read) {
  return {{"tokens", read.n()},
          {"log_probability", read.mean()},
          {"tokens_per_point", read.per_point()},
          {"points", read.points()}};
}

// Notes at the items, when all is read, which positions they have.
class Reader : public AnswerListener {
 public:
  Reader(const Services& services, std::string conversation, Json items)
      : services_(services), conversation_(std::move(conversation)), items_(std::move(items)) {}
  // When its turn has come: where the dialogue stands before.
  virtual void set_dialogue(DialogueState) {}
  void wrote(const Written&, const Place&) override {}
  void ended(const Ending& ending, const Place& place) override {
    if (ending.finish != Finish::kStop) return failed(ending.why);
    Json range = {{"from", ending.n_cached}, {"to", ending.n_cached + ending.n_read}};
    if (ending.read.n() > 0) range["log_probability"] = ending.read.mean();
    for (Json& item : items_) item["runnel"] = range;
    for (const StoredItem& item : stored(items_)) services_.store.update_item(conversation_, item);
    Json runnel = place_json(place);
    if (ending.read.n() > 0) runnel["likelihood"] = likelihood_json(ending.read);
    all_read(runnel);
  }

 protected:
  virtual void failed(const std::string& why) = 0;
  virtual void all_read(const Json& runnel) = 0;  // where the stream stands then

  const Services& services_;
  std::string conversation_;
  Json items_;
};

class FirstReader final : public Reader {
 public:
  FirstReader(const Services& services, ReplyPtr reply, std::string conversation, Json items,
              Json body)
      : Reader(services, std::move(conversation), std::move(items)),
        reply_(std::move(reply)),
        body_(std::move(body)) {}

 private:
  void failed(const std::string& why) override {
    send_error(reply_, {.status = 500, .message = why});
  }
  void all_read(const Json& runnel) override {
    body_["runnel"] = runnel;
    send_json(reply_, body_);
  }

  ReplyPtr reply_;
  Json body_;
};

// Whoever asks waits for the live one; what is kept of it is its row.
class FeedReader final : public Reader {
 public:
  FeedReader(const Services& services, std::shared_ptr<LiveResponse> live, StoredResponse row,
             Json items)
      : Reader(services, row.channel, std::move(items)),
        live_(std::move(live)),
        row_(std::move(row)) {}
  void set_dialogue(DialogueState state) override {
    row_.dialogue = static_cast<std::int64_t>(state);
    services_.store.put(row_);
  }
  void began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t, const Place&) override {
    row_.begin = n_cached;
    row_.read_until = n_cached + n_to_read;
    services_.store.put(row_);
  }

 private:
  void failed(const std::string& why) override { settle("failed", why); }
  void all_read(const Json& runnel) override { settle("completed", dump(runnel)); }
  void settle(const char* status, std::string body) {
    row_.status = status;
    row_.created = unix_seconds();  // the last retry counts from here
    row_.body = std::move(body);
    services_.store.put(row_);
    services_.responses.remove(row_.id);
    live_->end();
  }

  std::shared_ptr<LiveResponse> live_;
  StoredResponse row_;
};

void read(const Services& services, Channel& channel, std::vector<Message> messages, bool is_scored,
          const std::shared_ptr<Reader>& reader) {
  Hub& hub = services.hub;
  const auto prepare = [&hub, &channel, reader,
                        messages = std::move(messages)]() -> Channel::Reading {
    const Standing standing = {channel.dialogue, channel.calls};
    reader->set_dialogue(standing.state);
    channel.is_begun |= !messages.empty();
    channel.dialogue = Dialogues::state_behind(standing.state, messages, false);
    const Setting setting = {.system = channel.system};
    return [&hub, setting, standing, messages] {
      return hub.chat().turns(setting, standing, messages, false);
    };
  };
  hub.answer(channel, {.most_tokens = 0, .is_scored = is_scored}, reader, prepare);
}

void forget(const Services& services, const StoredResponse& row) {
  for (const Json& id : Json::parse(row.input))
    services.store.drop_item(row.channel, id.get<std::string>());
  services.store.drop_response(row.id);
}

// The list of the items, as they are now, and where the stream stood.
Json answer_of(const Services& services, const StoredResponse& row) {
  std::vector<StoredItem> items;
  for (const Json& id : Json::parse(row.input)) {
    if (auto item = services.store.item(row.channel, id.get<std::string>()))
      items.push_back(std::move(*item));
  }
  Json body = list_of(items, static_cast<int>(items.size()));
  body["runnel"] = Json::parse(row.body);
  return body;
}

void answer_when_settled(const Services& services, const ReplyPtr& reply, const std::string& id) {
  const auto answer = [&services, reply, id] {
    answer_errors(reply, [&] {
      const auto row = services.store.response(id);
      if (!row) refuse_missing("request", id);
      if (row->status == "failed") return send_error(reply, {.status = 500, .message = row->body});
      send_json(reply, answer_of(services, *row));
    });
  };
  const std::shared_ptr<LiveResponse> live = services.responses.find(id);
  if (live == nullptr) return answer();
  live->listen({.event = [](std::int64_t, const std::string&) {}, .end = answer});
}

}  // namespace

bool is_feed(const std::string& response) { return response.starts_with(kFeedPrefix); }

void feed(const Services& services, const ReplyPtr& reply, Channel& channel, const Json& items,
          const FeedRequest& request) {
  if (request.is_retry) {
    const auto row = services.store.response_to("", channel.id, request.digest);
    if (row && row->status != "failed" && is_recent(*row))
      return answer_when_settled(services, reply, row->id);
  }
  Json ids = Json::array();
  for (const Json& item : items) ids.push_back(item.at("id"));
  const StoredResponse row = {.id = random_id(kFeedPrefix),
                              .channel = channel.id,
                              .request = request.digest,
                              .status = "in_progress",
                              .created = unix_seconds(),
                              .input = dump(ids)};
  const auto live = std::make_shared<LiveResponse>(services.store, row.id, true);
  const auto reader = std::make_shared<FeedReader>(services, live, row, items);
  services.store.put(row);
  services.store.add_items(channel.id, stored(items));
  try {
    read(services, channel, messages_of_items(items), request.is_scored, reader);
  } catch (const Error&) {  // no memory: as if nobody had asked
    forget(services, row);
    throw;
  }
  services.responses.add(live);
  answer_when_settled(services, reply, row.id);
}

void feed_first(const Services& services, const ReplyPtr& reply, Channel& channel,
                const Json& items, const Json& body) {
  std::vector<Message> messages = messages_of_items(items);
  take_system(messages);  // pinned already
  read(services, channel, std::move(messages), false,
       std::make_shared<FirstReader>(services, reply, channel.id, items, body));
}

void settle_feed(const Services& services, StoredResponse row) {
  Channel* const channel = services.hub.find(row.channel);
  const std::int64_t end = services.store.end_of_tokens(row.channel);
  if (channel != nullptr && row.read_until >= 0 && end >= row.read_until) {
    row.status = "completed";
    row.body = dump(place_json(channel->place));
    return services.store.put(row);
  }
  if (channel != nullptr) services.hub.take_back(*channel, row);
  forget(services, row);
}

}  // namespace runnel::serve
