#include "serve/hub/responses.h"

namespace runnel::serve {
namespace {

// Of one response; an endless one keeps its last ones.
constexpr std::int64_t kMostEvents = 1 << 16;

}  // namespace

void LiveResponse::add(const std::string& event) {
  store_.add_event(id_, next_, event);
  if (next_ >= 2 * kMostEvents && next_ % kMostEvents == 0)
    store_.drop_events(id_, next_ - kMostEvents);
  tell(event);
}

void LiveResponse::tell(const std::string& event) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, listener] : listeners_) listener.event(next_, event);
  ++next_;
}

void LiveResponse::end() {
  std::map<std::uint64_t, Listener> listeners;
  {
    const std::lock_guard lock(mutex_);
    is_ended_ = true;
    listeners.swap(listeners_);
  }
  for (const auto& [number, listener] : listeners) listener.end();
  answer.reset();  // which tells this object, and would keep it for ever
}

std::uint64_t LiveResponse::listen(Listener listener) {
  std::unique_lock lock(mutex_);
  const std::uint64_t id = next_listener_++;
  if (!is_ended_) {
    listeners_[id] = std::move(listener);
    return id;
  }
  lock.unlock();
  listener.end();
  return id;
}

void LiveResponse::stop_listening(std::uint64_t listener) {
  const std::lock_guard lock(mutex_);
  listeners_.erase(listener);
  left_ = std::chrono::steady_clock::now();
}

bool LiveResponse::is_left(std::chrono::steady_clock::duration for_so_long) const {
  const std::lock_guard lock(mutex_);
  return !outlives_client_ && listeners_.empty() &&
         std::chrono::steady_clock::now() - left_ >= for_so_long;
}

std::shared_ptr<LiveResponse> Responses::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto at = live_.find(id);
  return at == live_.end() ? nullptr : at->second;
}

void Responses::add(const std::shared_ptr<LiveResponse>& response) {
  const std::lock_guard lock(mutex_);
  live_[response->id()] = response;
}

void Responses::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  live_.erase(id);
}

void Responses::cancel_left() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, response] : live_) {
    if (response->answer && response->is_left(patience_)) response->answer->cancel();
  }
}

}  // namespace runnel::serve
