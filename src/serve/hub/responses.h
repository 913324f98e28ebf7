// Responses that are being written: their events go to the store first and then to whoever listens,
// so that a listener may leave and come back.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "serve/hub/answer.h"
#include "serve/store/store.h"

namespace runnel::serve {

class LiveResponse {
 public:
  struct Listener {
    std::function<void(std::int64_t number, const std::string& event)> event;
    std::function<void()> end;
  };

  // `next`: the number of its next event.
  LiveResponse(Store& store, std::string id, bool outlives_client, std::int64_t next = 0)
      : store_(store), id_(std::move(id)), outlives_client_(outlives_client), next_(next) {}

  const std::string& id() const { return id_; }
  Store& store() const { return store_; }  // that has its row and its events
  // On the scheduler's thread.
  std::shared_ptr<Answer> answer;

  // Of the next event.
  std::int64_t number() const { return next_; }
  // From the scheduler's thread alone.
  void add(const std::string& event);
  void tell(const std::string& event);  // the same without the store, which cannot take it
  void end();

  // The events that come, which are in the store already, then the end. Returns what
  // stop_listening() wants.
  std::uint64_t listen(Listener listener);
  void stop_listening(std::uint64_t listener);
  // Nobody has listened for so long, though somebody should.
  bool is_left(std::chrono::steady_clock::duration for_so_long) const;

 private:
  Store& store_;
  std::string id_;
  bool outlives_client_;
  mutable std::mutex mutex_;
  std::int64_t next_ = 0;
  bool is_ended_ = false;
  std::uint64_t next_listener_ = 0;
  std::map<std::uint64_t, Listener> listeners_;
  std::chrono::steady_clock::time_point left_ = std::chrono::steady_clock::now();
};

// By id, while they are written. From any thread.
class Responses {
 public:
  explicit Responses(std::chrono::seconds patience) : patience_(patience) {}

  std::shared_ptr<LiveResponse> find(const std::string& id) const;
  void add(const std::shared_ptr<LiveResponse>& response);
  void remove(const std::string& id);
  // On the scheduler's thread: cancels those whose client left and did not come back.
  void cancel_left();

 private:
  std::chrono::seconds patience_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<LiveResponse>> live_;
};

}  // namespace runnel::serve
