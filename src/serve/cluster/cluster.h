// A server among others that share their streams: fetches a stream when a request is about it, goes
// on with what its owner before was writing, keeps its leases, and lets go what others ask for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "serve/cluster/shared_streams.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

class Cluster {
 public:
  Cluster(const Services& services, SharedStreams& shared, std::chrono::milliseconds lease)
      : services_(services), shared_(shared), lease_(lease) {}
  ~Cluster() { stop(); }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  void begin();  // the thread that keeps leases
  void stop();

  // The ids of conversations and responses that a request is about.
  static std::vector<std::string> ids_of(const Request& request);
  // Calls `then` when their streams are here, with true; with false where that takes too long. From
  // any thread, on any thread.
  void bring(const std::vector<std::string>& ids, std::function<void(bool)> then);
  // On the scheduler's thread: the stream is written to the snapshots and has gone from the hub.
  void let_go(const std::string& stream);

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    std::function<void(bool)> then;
    Clock::time_point until;
  };
  std::string stream_of(const std::string& id);
  void bring_one(const std::string& stream, std::function<void(bool)> then);
  void loop();
  void try_to_claim(const std::string& stream);
  void take(const std::string& stream);
  void renew();
  void answer(const std::string& stream, bool is_here, Clock::time_point those_until);

  const Services& services_;
  SharedStreams& shared_;
  std::chrono::milliseconds lease_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::map<std::string, std::vector<Waiting>> waiting_;   // by stream
  std::map<std::string, std::vector<Waiting>> arriving_;  // whose streams are on their way
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace runnel::serve
