// The part of the hub that keeps streams beyond the process, and takes up those of another one.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "serve/hub/hub.h"
#include "serve/log.h"

namespace runnel::serve {
namespace {

// So many tokens pass the model again at most when a stream comes back after the process was
// killed.
constexpr std::int64_t kMostKeptTokens = 4096;

// So long may an answer still be written on a stream that another process waits for; then that one
// goes on with it, as if this one had been killed.
constexpr std::chrono::seconds kLongestWanted{5};

// What a stream's numbers depend on beside sinks and window: tokens that pass the model again,
// under a server with other options, give the same ones. And what they ran on, which may round
// otherwise.
std::string shape_text(const StreamOptions& o, const std::string& ran_on) {
  return nlohmann::json{{"layer_windows", o.layer_windows},
                        {"policy", static_cast<int>(o.policy)},
                        {"kv_type", static_cast<int>(o.kv_type)},
                        {"kv_rotate", o.kv_rotate.value_or(false)},
                        {"softmax", static_cast<int>(o.softmax.value_or(Softmax::kStandard))},
                        {"ran_on", ran_on}}
      .dump();
}

Place place_at(std::int64_t position, const StreamOptions& o) {
  const std::int64_t window = o.window.value_or(0);
  return {.position = position,
          .evicted = std::max<std::int64_t>(0, position - o.sinks - window),
          .horizon = std::max<std::int64_t>(0, position - window),
          .pinned = o.sinks,
          .window = window};
}

void take_shape(const nlohmann::json& shape, StreamOptions& o) {
  shape.at("layer_windows").get_to(o.layer_windows);
  o.policy = static_cast<Policy>(shape.at("policy").get<int>());
  o.kv_type = static_cast<KvType>(shape.at("kv_type").get<int>());
  o.kv_rotate = shape.at("kv_rotate").get<bool>();
  o.softmax = static_cast<Softmax>(shape.at("softmax").get<int>());
}

}  // namespace

bool Hub::is_kept(const Channel& channel) const {
  const bool is_named =
      channel.kind == Channel::Kind::kConversation || channel.kind == Channel::Kind::kChain;
  return options_.is_durable && is_named;
}

void Hub::remember(const Channel& channel) {
  if (!is_kept(channel)) return;
  const std::string& ran_on = channel.ran_on.empty() ? runs_on_ : channel.ran_on;
  const StoredStream stream = {.id = channel.id,
                               .kind = static_cast<std::int64_t>(channel.kind),
                               .created = channel.created,
                               .sinks = channel.options.sinks,
                               .window = channel.options.window.value_or(0),
                               .dialogue = static_cast<std::int64_t>(channel.dialogue),
                               .is_begun = channel.is_begun,
                               .has_snapshot = channel.is_in_file,
                               .head = channel.head,
                               .system = channel.system,
                               .shape = shape_text(channel.options, ran_on)};
  try {
    store_.put(stream);
  } catch (const Error& error) {  // a full disk: the streams go on all the same
    log_warning(fmt::format("stream {}: {}", channel.id, error.what()));
  }
}

void Hub::restore() {
  if (!options_.is_durable) return;
  for (const StoredStream& row : store_.streams()) {
    try {
      adopt(row);
    } catch (const std::exception& error) {  // the others are served
      log_warning(fmt::format("stream {}: {}", row.id, error.what()));
    }
  }
  remove_strays();
}

// Parked streams of a process before that nobody can ask for any more.
void Hub::remove_strays() {
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(options_.folder, ignored)) {
    const std::string name = file.path().stem().string();
    if (name.starts_with("stream_") && !store_.stream(name))
      std::filesystem::remove(file.path(), ignored);
  }
}

void Hub::take_back(Channel& channel, const StoredResponse& request) {
  if (request.read_until >= 0) {
    store_.drop_tokens_from(channel.id, request.begin);
    if (request.begin > 0) store_.mark_position(channel.id, request.begin);
  }
  if (request.dialogue >= 0) {
    const std::int64_t position = store_.end_of_tokens(channel.id);
    channel.dialogue = static_cast<DialogueState>(request.dialogue);
    channel.is_begun = position > 0;
    channel.place = place_at(position, channel.options);
  }
  remember(channel);
}

StreamOptions Hub::options_of(const StoredStream& row) const {
  StreamOptions wanted = options_.stream;
  wanted.sinks = static_cast<int>(row.sinks);
  if (!row.shape.empty()) {
    take_shape(nlohmann::json::parse(row.shape), wanted);
  } else if (model_.resolve(wanted).window != row.window) {
    // Of an earlier version: the layers' own windows are the server's, where the largest is.
    wanted.layer_windows.clear();
  }
  wanted.window = row.window;
  return model_.resolve(wanted);
}

void Hub::adopt(const StoredStream& row) {
  auto channel = std::make_unique<Channel>();
  channel->id = row.id;
  channel->kind = static_cast<Channel::Kind>(row.kind);
  channel->state = Channel::State::kParked;
  channel->options = options_of(row);
  if (!row.shape.empty()) channel->ran_on = nlohmann::json::parse(row.shape).value("ran_on", "");
  channel->bytes = model_.stream_bytes(channel->options);
  const std::int64_t position = store_.end_of_tokens(row.id);
  channel->place = place_at(position, channel->options);
  channel->created = row.created;
  channel->dialogue = static_cast<DialogueState>(row.dialogue);
  channel->is_begun = row.is_begun;
  channel->is_in_file = row.has_snapshot;
  channel->head = row.head;
  channel->system = row.system;
  channels_[row.id] = std::move(channel);
}

void Hub::tell_other_device(Channel& channel) const {
  const std::string before = std::exchange(channel.ran_on, {});
  if (before.empty() || before == runs_on_) return;
  log_warning(
      fmt::format("stream {}: was on {}, goes on on {}: as it would have there but for "
                  "rounding",
                  channel.id, before, runs_on_));
}

void Hub::hand_over(const std::string& id) {
  Channel* const channel = find(id);
  if (channel == nullptr) return options_.let_go(id);
  if (channel->is_idle()) return park(*channel);
  if (channel->state == Channel::State::kParked && channel->queue.empty()) {
    channels_.erase(id);
    return options_.let_go(id);
  }
  const auto now = std::chrono::steady_clock::now();
  if (!channel->wanted_since) channel->wanted_since = now;
  if (now - *channel->wanted_since < kLongestWanted) return;
  log_info(fmt::format("stream {}: let go at work; its answer goes on elsewhere", id));
  options_.let_go(id);
  lose(id);
}

void Hub::lose(const std::string& id) {
  Channel* const channel = find(id);
  if (channel == nullptr) return;
  channel->is_lost = true;
  drop(*channel);
}

// What the stream had read and written since its snapshot passes the model again, before anything
// else.
void Hub::replay(Channel& channel) {
  if (!is_kept(channel)) return;
  channel.kept_from = channel.place.position;
  std::vector<Token> tokens = store_.tokens(channel.id, channel.place.position);
  if (tokens.empty()) return;
  channel.is_replaying = true;
  ++counters_.answers;
  channel.queue.push_front(
      {std::make_shared<Answer>(*this, channel, AnswerOptions{.most_tokens = 0}, nullptr),
       [tokens = std::move(tokens)]() -> Channel::Reading { return [tokens] { return tokens; }; }});
}

void Hub::checkpoint_if_due(Channel& channel) {
  const bool is_due =
      channel.wants_snapshot || channel.place.position - channel.kept_from > kMostKeptTokens;
  if (is_due && is_kept(channel) && !channel.is_checkpointing && !channel.is_replaying)
    checkpoint(channel, {});
}

// A copy of the stream goes to its file while the stream goes on.
void Hub::checkpoint(Channel& channel, std::function<void()> done) {
  auto copy = std::make_shared<Stream>(channel.stream->fork());
  const std::int64_t position = copy->position();
  channel.is_checkpointing = true;
  channel.wants_snapshot = false;
  Snapshots& snapshots = snapshots_of(channel);
  on_the_side([copy = std::move(copy), id = channel.id, &snapshots] { snapshots.save(id, *copy); },
              [this, id = channel.id, position, &snapshots,
               done = std::move(done)](const std::string& failure) {
                if (!failure.empty())
                  log_warning(fmt::format("stream {}: not saved: {}", id, failure));
                if (Channel* const there = find(id)) {
                  there->is_checkpointing = false;
                  if (failure.empty()) saved(*there, position);
                } else {
                  snapshots.remove(id);
                }
                if (done) done();
              });
}

void Hub::saved(Channel& channel, std::int64_t position) {
  channel.is_in_file = true;
  channel.kept_from = position;
  remember(channel);
  if (!is_kept(channel)) return;
  store_.mark_position(channel.id, position);
  store_.drop_tokens_before(channel.id, position);
}

}  // namespace runnel::serve
