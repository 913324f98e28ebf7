// Tells a client the events of a response, those that were and those that come, at the client's own
// pace: while it does not keep up, they wait in the store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "serve/hub/responses.h"
#include "serve/protocols/exchange.h"
#include "serve/store/store.h"

namespace runnel::serve {

// From any thread.
class Follower : public std::enable_shared_from_this<Follower> {
 public:
  struct Options {
    std::string response;
    std::int64_t first = 0;                                      // number of an event
    std::function<std::string(const std::string& event)> piece;  // what is written for an event
    std::function<void()> end;                                   // behind the last event
  };
  Follower(Store& store, std::shared_ptr<Outlet> outlet, Options options)
      : store_(store), outlet_(std::move(outlet)), options_(std::move(options)) {}

  // The first thing to call. `live`: null, where the response has ended. Returns what
  // LiveResponse::stop_listening() wants.
  std::uint64_t begin(LiveResponse* live);

 private:
  void heard(std::int64_t number, const std::string& event);
  void ended();
  void catch_up();
  void wait_for_room();

  Store& store_;
  std::shared_ptr<Outlet> outlet_;
  Options options_;
  std::mutex mutex_;
  bool is_behind_ = true;  // the next event is to be had from the store
  bool is_waiting_ = false;
  bool has_ended_ = false;
};

}  // namespace runnel::serve
