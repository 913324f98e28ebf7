#include "serve/hub/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "engine/internals.h"
#include "serve/hub/transcript.h"
#include "serve/log.h"

namespace runnel::serve {
namespace {

std::vector<Token> nothing() { return {}; }

}  // namespace

Hub::Hub(const Model& model, Scheduler& scheduler, Store& store, HubOptions options)
    : model_(model),
      scheduler_(scheduler),
      store_(store),
      options_(std::move(options)),
      folder_(options_.folder),
      runs_on_(fmt::format("{} ({})", model.device().name, model.instruction_set())),
      chat_(model, options_.template_name),
      ends_((static_cast<std::size_t>(model.vocabulary_size()) + 63) / 64) {
  for (Token token = 0; token < model.vocabulary_size(); ++token) {
    const auto bit = static_cast<std::size_t>(token);
    if (model.is_end_of_generation(token)) ends_[bit / 64] |= std::uint64_t{1} << bit % 64;
  }
}

Hub::~Hub() { side_.stop(); }

Channel* Hub::find(const std::string& id) {
  const auto at = channels_.find(id);
  return at == channels_.end() || at->second->is_dropped ? nullptr : at->second.get();
}

// A pinned text that would leave less than a quarter of the trained context is not pinned whole.
StreamOptions Hub::options_for(const std::vector<Token>& pinned) const {
  StreamOptions wanted = options_.stream;
  wanted.sinks = std::max(wanted.sinks, static_cast<int>(pinned.size()));
  if (!wanted.window && wanted.sinks > model_.trained_context() * 3 / 4)
    wanted.sinks = options_.stream.sinks;
  return model_.resolve(wanted);
}

Channel& Hub::open(Channel::Kind kind, std::string id, std::vector<Token> pinned) {
  auto channel = std::make_unique<Channel>();
  channel->id = id;
  channel->kind = kind;
  channel->options = options_for(pinned);
  channel->bytes = model_.stream_bytes(channel->options);
  channel->created = std::time(nullptr);
  channel->place = {.pinned = channel->options.sinks,
                    .window = channel->options.window.value_or(0)};
  make_room(channel->bytes);
  Channel& opened = *channel;
  channels_[id] = std::move(channel);
  remember(opened);
  wake(opened);
  if (!pinned.empty()) {
    opened.is_begun = true;
    opened.dialogue = DialogueState::kAfterSystem;
    remember(opened);
    answer(opened, {.most_tokens = 0}, nullptr,
           [pinned = std::move(pinned)] { return [pinned] { return pinned; }; });
  }
  return opened;
}

std::shared_ptr<Answer> Hub::answer(Channel& channel, AnswerOptions options,
                                    std::shared_ptr<AnswerListener> listener,
                                    std::function<Channel::Reading()> prepare) {
  const bool is_parked = channel.state == Channel::State::kParked;
  if (is_parked || channel.state == Channel::State::kParking) make_room(channel.bytes);
  if (is_parked) wake(channel);
  auto answer = std::make_shared<Answer>(*this, channel, std::move(options), std::move(listener));
  channel.queue.push_back({answer, std::move(prepare)});
  channel.last_used = std::chrono::steady_clock::now();
  ++counters_.answers;
  if (channel.queue.size() == 1) begin_first(channel);
  return answer;
}

// The text is read into tokens on the side, and the answer begins when they are there.
void Hub::begin_first(Channel& channel) {
  if (channel.queue.empty() || channel.state != Channel::State::kAwake) return;
  const Channel::Pending& first = channel.queue.front();
  Channel::Reading reading = first.prepare ? first.prepare() : Channel::Reading(nothing);
  remember(channel);
  const auto tokens = std::make_shared<std::vector<Token>>();
  on_the_side([tokens, reading = std::move(reading)] { *tokens = reading(); },
              [this, answer = first.answer, tokens](const std::string& failure) {
                if (!failure.empty()) {
                  answer->fail_unbegun(failure);
                  return finished(answer->channel_);
                }
                answer->begin(std::move(*tokens));
                scheduler_.start(answer);
              });
}

void Hub::on_the_side(std::function<void()> work,
                      std::function<void(const std::string& failure)> done) {
  side_.post([this, work = std::move(work), done = std::move(done)]() mutable {
    std::string failure;
    try {
      work();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    work = nullptr;  // with what it holds
    scheduler_.post([done = std::move(done), failure] { done(failure); });
  });
}

void Hub::finished(Channel& channel) {
  channel.queue.pop_front();
  --counters_.answers;
  channel.last_used = std::chrono::steady_clock::now();
  if (channel.kind == Channel::Kind::kPassing && channel.queue.empty() && !channel.is_held)
    channel.is_dropped = true;
  if (erase_if_dropped(channel)) return;
  channel.is_replaying = false;
  channel.wanted_since.reset();
  remember(channel);
  checkpoint_if_due(channel);
  begin_first(channel);
  admit();
  close_when_quiet();
}

void Hub::keep(Channel& channel, std::span<const Token> tokens) {
  channel.recent.push(tokens);
  if (channel.kind == Channel::Kind::kCompletion)
    channel.tokens.insert(channel.tokens.end(), tokens.begin(), tokens.end());
  if (!is_kept(channel) || channel.is_replaying) return;
  store_.add_tokens(channel.id, channel.place.position, tokens);
}

void Hub::keep_said(Channel& channel, const Message& answer) {
  channel.calls = answer.tool_calls;
  if (channel.is_chat) channel.text += transcript(answer);
}

std::string Hub::call_id() { return fmt::format("call_{:016x}{:08x}", random_(), random_() >> 32); }

const Tokenizer& Hub::vocabulary() const { return model_.internals().vocabulary(); }

bool Hub::may_go_on(std::span<const std::uint64_t> tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if ((tokens[i] & ~ends_[i]) != 0) return true;
  }
  return false;
}

const AnswerConstraints& Hub::constraints() const {
  std::call_once(constraints_once_,
                 [this] { constraints_ = std::make_unique<AnswerConstraints>(model_); });
  return *constraints_;
}

Channel& Hub::fork(Channel& channel, Channel::Kind kind, std::string id,
                   std::function<void()> done) {
  if (!channel.is_idle())
    throw Error(fmt::format("{}: the stream is at work; fork it when it is idle", channel.id));
  make_room(channel.bytes, &channel);
  if (!channel.is_idle()) throw Busy(channel.id + ": memory for streams is taken");
  auto copy = std::make_unique<Channel>();
  copy->id = id;
  copy->kind = kind;
  copy->state = Channel::State::kAwake;
  copy->options = channel.options;
  copy->bytes = channel.bytes;
  copy->stream.emplace(channel.stream->fork());
  copy->place = channel.place;
  copy->dialogue = channel.dialogue;
  copy->is_begun = channel.is_begun;
  copy->guard = channel.guard;
  copy->recent = channel.recent;
  copy->is_chat = channel.is_chat;
  copy->text = channel.text;
  copy->calls = channel.calls;
  copy->head = channel.head;
  copy->system = channel.system;
  copy->tokens = channel.tokens;
  copy->created = std::time(nullptr);
  bytes_used_ += copy->bytes;
  Channel& forked = *copy;
  forked.kept_from = forked.place.position;
  channels_[id] = std::move(copy);
  if (!is_kept(forked)) {
    done();
    return forked;
  }
  remember(forked);
  checkpoint(forked, std::move(done));
  return forked;
}

void Hub::drop(Channel& channel) {
  channel.is_dropped = true;
  for (const Channel::Pending& pending : channel.queue) pending.answer->cancel();
  erase_if_dropped(channel);
}

// True when it is gone: nobody wants it, and no thread has its stream.
bool Hub::erase_if_dropped(Channel& channel) {
  const bool is_at_hand =
      channel.state == Channel::State::kAwake || channel.state == Channel::State::kParked;
  if (!channel.is_dropped || !channel.queue.empty() || !is_at_hand) return false;
  erase(channel);
  return true;
}

void Hub::erase(Channel& channel) {
  if (channel.stream) bytes_used_ -= channel.bytes;
  if (!channel.is_lost && channel.is_in_file) remove_snapshot(channel);
  if (!channel.is_lost && is_kept(channel)) store_.drop_stream(channel.id);
  channels_.erase(channel.id);
  admit();
  close_when_quiet();
}

Snapshots& Hub::snapshots_of(const Channel& channel) {
  if (options_.shared != nullptr && is_kept(channel)) return *options_.shared;
  return folder_;
}

void Hub::remove_snapshot(const Channel& channel) {
  side_.post([&snapshots = snapshots_of(channel), id = channel.id] {
    try {
      snapshots.remove(id);
    } catch (const Error& error) {
      log_warning(fmt::format("stream {}: {}", id, error.what()));
    }
  });
}

void Hub::release(Channel& channel) {
  channel.is_held = false;
  if (channel.kind == Channel::Kind::kPassing && channel.queue.empty()) drop(channel);
}

void Hub::forget_response(const std::string& response, const std::string& id) {
  Channel* const channel = find(id);
  const bool leads_there = channel != nullptr && channel->kind == Channel::Kind::kChain &&
                           channel->head == response && channel->queue.empty();
  if (leads_there) drop(*channel);
}

// Without a folder parking is forgetting, and all but conversations can be read in again.
bool Hub::can_park(const Channel& channel) const {
  return !options_.folder.empty() || channel.kind != Channel::Kind::kConversation;
}

// Copies go first, and what nobody keeps, then dialogues of one turn.
int Hub::worth(const Channel& channel) {
  if (channel.kind == Channel::Kind::kPassing) return 0;
  if (channel.kind != Channel::Kind::kCompletion) return 2;
  return channel.is_copy ? 0 : channel.n_turns < 2 ? 1 : 2;
}

// Those that may leave memory (all but one), the first of them first.
std::vector<Channel*> Hub::idle_ones(const Channel* but) const {
  std::vector<Channel*> idle;
  for (const auto& [id, channel] : channels_) {
    if (channel.get() != but && channel->is_idle() && can_park(*channel))
      idle.push_back(channel.get());
  }
  std::sort(idle.begin(), idle.end(), [](const Channel* a, const Channel* b) {
    if (worth(*a) != worth(*b)) return worth(*a) < worth(*b);
    return a->last_used < b->last_used;
  });
  return idle;
}

// Sends idle streams (all but one) to the disk, the longest idle first, until `bytes` more will
// fit. Error: Busy, with nothing changed.
void Hub::make_room(std::size_t bytes, const Channel* but) {
  if (bytes > options_.memory_bytes) {
    throw Busy(fmt::format("a stream takes {} bytes, and all streams together may take {}", bytes,
                           options_.memory_bytes));
  }
  const auto wanted = [&] { return bytes_used_ - bytes_leaving_ + bytes_wanted_ + bytes; };
  if (wanted() <= options_.memory_bytes) return;
  std::size_t found = 0;
  for (const Channel* const channel : idle_ones(but)) found += channel->bytes;
  if (wanted() > options_.memory_bytes + found) {
    throw Busy(fmt::format("memory for streams is taken: want {} bytes, {} of {} are in use", bytes,
                           bytes_used_, options_.memory_bytes));
  }
  while (wanted() > options_.memory_bytes) {  // one that goes may let another one in
    const std::vector<Channel*> idle = idle_ones(but);
    if (idle.empty()) return;
    park(*idle.front());
  }
}

void Hub::wake(Channel& channel) {
  channel.state = Channel::State::kWaking;
  waiting_.push_back(channel.id);
  bytes_wanted_ += channel.bytes;
  admit();
}

// Those that wait, in their order, as far as there is memory, or others can make place.
void Hub::admit() {
  while (!waiting_.empty()) {
    Channel& next = *channels_.at(waiting_.front());
    if (bytes_used_ + next.bytes > options_.memory_bytes) {
      if (!free_one_for(next)) return;
      continue;
    }
    waiting_.pop_front();
    bytes_wanted_ -= next.bytes;
    bytes_used_ += next.bytes;
    bring(next);
  }
}

// False: nothing more can be done for it now. What is on its way to the disk will be gone soon.
bool Hub::free_one_for(const Channel& next) {
  if (bytes_used_ - bytes_leaving_ + next.bytes <= options_.memory_bytes) return false;
  const std::vector<Channel*> idle = idle_ones(&next);
  if (idle.empty()) return false;
  park(*idle.front());
  return true;
}

void Hub::bring(Channel& channel) {
  const auto stream = std::make_shared<std::optional<Stream>>();
  on_the_side(
      [this, stream, id = channel.id, options = channel.options, &snapshots = snapshots_of(channel),
       is_parked = channel.is_in_file] {
        stream->emplace(is_parked ? snapshots.load(model_, id) : model_.open(options));
      },
      [this, stream, id = channel.id](const std::string& failure) {
        came(id, std::move(*stream), failure);
      });
}

void Hub::came(const std::string& id, std::optional<Stream> stream, const std::string& failure) {
  Channel& channel = *channels_.at(id);
  if (stream) {
    channel.stream = std::move(stream);
    channel.state = Channel::State::kAwake;
    if (channel.is_in_file) ++counters_.woken;
    channel.place = Place::of(*channel.stream);
    channel.recent = RecentTokens(channel.options.window.value_or(0));
    channel.recent.push(channel.stream->visible_tokens());
    if (erase_if_dropped(channel)) return;
    tell_other_device(channel);
    replay(channel);
    begin_first(channel);
    return;
  }
  log_warning(fmt::format("stream {}: {}", id, failure));
  bytes_used_ -= channel.bytes;
  channel.state = Channel::State::kParked;
  while (!channel.queue.empty()) {
    const std::shared_ptr<Answer> answer = channel.queue.front().answer;
    channel.queue.pop_front();
    --counters_.answers;
    answer->fail_unbegun(failure);
  }
  const bool has_something = channel.is_in_file || is_kept(channel);
  if (!has_something) channel.is_dropped = true;
  if (!erase_if_dropped(channel)) admit();
}

void Hub::park(Channel& channel) {
  const bool is_passing = channel.is_copy || channel.kind == Channel::Kind::kPassing;
  if (options_.folder.empty() || is_passing) return erase(channel);
  channel.state = Channel::State::kParking;
  bytes_leaving_ += channel.bytes;
  const auto stream = std::make_shared<std::optional<Stream>>(std::move(channel.stream));
  channel.stream.reset();
  on_the_side(
      [stream, id = channel.id, &snapshots = snapshots_of(channel)] {
        snapshots.save(id, **stream);
        stream->reset();
      },
      [this, stream, id = channel.id](const std::string& failure) {
        parked(id, std::move(*stream), failure);
      });
}

void Hub::parked(const std::string& id, std::optional<Stream> stream, const std::string& failure) {
  Channel& channel = *channels_.at(id);
  bytes_leaving_ -= channel.bytes;
  if (stream) {  // it could not be saved, so it stays
    log_warning(fmt::format("stream {}: not parked: {}", id, failure));
    channel.stream = std::move(stream);
    channel.state = Channel::State::kAwake;
    channel.last_used = std::chrono::steady_clock::now();
    channel.is_stuck = true;
    if (!erase_if_dropped(channel)) begin_first(channel);
    return close_when_quiet();
  }
  bytes_used_ -= channel.bytes;
  channel.state = Channel::State::kParked;
  channel.recent = {};
  ++counters_.parked;
  saved(channel, channel.place.position);
  if (erase_if_dropped(channel)) return;
  if (channel.queue.empty() && options_.shared != nullptr && is_kept(channel)) {
    channels_.erase(id);
    options_.let_go(id);
    admit();
    return close_when_quiet();
  }
  if (!channel.queue.empty()) wake(channel);
  admit();
  close_when_quiet();
}

void Hub::tick() {
  if (options_.folder.empty()) return;
  const auto now = std::chrono::steady_clock::now();
  std::vector<std::string> idle;  // parking one may erase it, and park others
  for (const auto& [id, channel] : channels_) {
    if (channel->is_idle() && now - channel->last_used >= options_.idle) idle.push_back(id);
  }
  for (const std::string& id : idle) {
    Channel* const channel = find(id);
    if (channel != nullptr && channel->is_idle()) park(*channel);
  }
  drop_longest_parked();
}

// Nobody can ask for a stream without a name but by bringing its whole history, so those that were
// not asked for in the longest time go.
void Hub::drop_longest_parked() {
  std::vector<Channel*> parked;
  std::size_t bytes = 0;
  for (const auto& [id, channel] : channels_) {
    const bool is_nameless = channel->kind == Channel::Kind::kCompletion;
    if (!is_nameless || channel->state != Channel::State::kParked || !channel->queue.empty())
      continue;
    bytes += channel->bytes;
    parked.push_back(channel.get());
  }
  if (bytes <= options_.parked_bytes) return;
  std::sort(parked.begin(), parked.end(),
            [](const Channel* a, const Channel* b) { return a->last_used < b->last_used; });
  for (std::size_t i = 0; i < parked.size() && bytes > options_.parked_bytes; ++i) {
    bytes -= parked[i]->bytes;
    drop(*parked[i]);
  }
}

void Hub::close(std::function<void()> done) {
  closed_ = std::move(done);
  for (const auto& [id, channel] : channels_) {
    for (const Channel::Pending& pending : channel->queue) pending.answer->cancel();
  }
  close_when_quiet();
}

void Hub::close_when_quiet() {
  if (!closed_ || counters_.answers > 0) return;
  bool is_parking = false;
  for (const auto& [id, channel] : channels_) {
    if (is_kept(*channel) && channel->is_idle() && !channel->is_stuck) park(*channel);
    is_parking |= channel->state == Channel::State::kParking;
  }
  if (!is_parking) std::exchange(closed_, {})();
}

// Reading its tokens again would not give this cache: it has to be saved.
void Hub::rebuilt(Channel& channel) {
  ++counters_.rebuilt;
  channel.wants_snapshot = true;
}

Hub::Counters Hub::counters() const {
  Counters counters = counters_;
  counters.streams = channels_.size();
  counters.bytes = bytes_used_;
  counters.awake = static_cast<std::size_t>(
      std::count_if(channels_.begin(), channels_.end(),
                    [](const auto& entry) { return entry.second->stream.has_value(); }));
  return counters;
}

}  // namespace runnel::serve
