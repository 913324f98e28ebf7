// The part of the hub that keeps streams beyond the process, and takes up those of another one.
#include <fmt/format.h>

#include <algorithm>
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

}  // namespace

bool Hub::is_kept(const Channel& channel) const {
  return options_.is_durable && channel.kind != Channel::Kind::kCompletion;
}

void Hub::remember(const Channel& channel) {
  if (!is_kept(channel)) return;
  const StoredStream stream = {.id = channel.id,
                               .kind = static_cast<std::int64_t>(channel.kind),
                               .created = channel.created,
                               .sinks = channel.options.sinks,
                               .window = channel.options.window.value_or(0),
                               .dialogue = static_cast<std::int64_t>(channel.dialogue),
                               .is_begun = channel.is_begun,
                               .has_snapshot = channel.is_in_file,
                               .head = channel.head,
                               .system = channel.system};
  try {
    store_.put(stream);
  } catch (const Error& error) {  // a full disk: the streams go on all the same
    log_warning(fmt::format("stream {}: {}", channel.id, error.what()));
  }
}

void Hub::restore() {
  if (!options_.is_durable) return;
  for (const StoredStream& row : store_.streams()) adopt(row);
  remove_strays();
}

// Parked streams of a process before that nobody can ask for any more.
void Hub::remove_strays() {
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(options_.folder, ignored)) {
    const std::string name = file.path().stem().string();
    if (name.starts_with("stream_") && find(name) == nullptr)
      std::filesystem::remove(file.path(), ignored);
  }
}

void Hub::adopt(const StoredStream& row) {
  auto channel = std::make_unique<Channel>();
  channel->id = row.id;
  channel->kind = static_cast<Channel::Kind>(row.kind);
  channel->state = Channel::State::kParked;
  StreamOptions wanted = options_.stream;
  wanted.sinks = static_cast<int>(row.sinks);
  // The layers' own windows are the server's, where the stream had the same largest one.
  if (model_.resolve(wanted).window != row.window) wanted.layer_windows.clear();
  wanted.window = row.window;
  channel->options = model_.resolve(wanted);
  channel->bytes = model_.stream_bytes(channel->options);
  const std::int64_t position = store_.end_of_tokens(row.id);
  channel->place = {.position = position,
                    .evicted = std::max<std::int64_t>(0, position - row.sinks - row.window),
                    .horizon = std::max<std::int64_t>(0, position - row.window),
                    .pinned = row.sinks,
                    .window = row.window};
  channel->created = row.created;
  channel->dialogue = static_cast<DialogueState>(row.dialogue);
  channel->is_begun = row.is_begun;
  channel->is_in_file = row.has_snapshot;
  channel->head = row.head;
  channel->system = row.system;
  channels_[row.id] = std::move(channel);
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
  const auto copy = std::make_shared<std::optional<Stream>>(channel.stream->fork());
  channel.is_checkpointing = true;
  channel.wants_snapshot = false;
  side_.post(
      [this, id = channel.id, &snapshots = snapshots_of(channel), copy, done = std::move(done)] {
        std::string failure;
        const std::int64_t position = (*copy)->position();
        try {
          snapshots.save(id, **copy);
        } catch (const std::exception& error) {
          failure = error.what();
        }
        copy->reset();
        scheduler_.post([this, id, failure, position, done, &snapshots] {
          if (!failure.empty()) log_warning(fmt::format("stream {}: not saved: {}", id, failure));
          Channel* const saved = find(id);
          if (saved != nullptr) saved->is_checkpointing = false;
          if (saved != nullptr && failure.empty()) {
            saved->is_in_file = true;
            saved->kept_from = position;
            remember(*saved);
            store_.mark_position(id, position);
            store_.drop_tokens_before(id, position);
          }
          if (saved == nullptr) snapshots.remove(id);
          if (done) done();
        });
      });
}

}  // namespace runnel::serve
