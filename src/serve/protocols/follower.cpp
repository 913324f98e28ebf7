#include "serve/protocols/follower.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kEventsAtOnce = 64;

}  // namespace

std::uint64_t Follower::begin(LiveResponse* live) {
  std::uint64_t listener = 0;
  const auto self = shared_from_this();
  if (live == nullptr) {
    has_ended_ = true;
  } else {
    listener =
        live->listen({.event = [self](std::int64_t number,
                                      const std::string& event) { self->heard(number, event); },
                      .end = [self] { self->ended(); }});
  }
  catch_up();
  return listener;
}

void Follower::heard(std::int64_t number, const std::string& event) {
  {
    const std::lock_guard lock(mutex_);
    if (is_behind_ || number < options_.first) return;
    options_.first = number + 1;
    outlet_->write(options_.piece(event));
    if (outlet_->has_room()) return;
    is_behind_ = true;
    is_waiting_ = true;
  }
  wait_for_room();
}

void Follower::ended() {
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
    if (is_behind_) return;
    is_behind_ = true;  // nothing more is told
  }
  options_.end();
}

void Follower::wait_for_room() {
  outlet_->when_room([self = shared_from_this()] {
    {
      const std::lock_guard lock(self->mutex_);
      self->is_waiting_ = false;
    }
    self->catch_up();
  });
}

// Between the last look into the store and the end of being behind no event is missed: whoever
// tells of it waits for the lock.
void Follower::catch_up() {
  std::unique_lock lock(mutex_);
  if (is_waiting_) return;
  for (;;) {
    const auto events = store_.events(options_.response, options_.first, INT64_MAX, kEventsAtOnce);
    if (events.empty()) break;
    for (const auto& [number, event] : events) outlet_->write(options_.piece(event));
    options_.first = events.back().first + 1;
    if (outlet_->has_room()) continue;
    is_waiting_ = true;
    lock.unlock();
    return wait_for_room();
  }
  is_behind_ = has_ended_;
  const bool is_over = has_ended_;
  lock.unlock();
  if (is_over) options_.end();
}

}  // namespace runnel::serve
