// A server, whole: the parts in the order they are made, and unmade.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "runnel/runnel.h"
#include "serve/http/server.h"
#include "serve/hub/hub.h"
#include "serve/scheduler/scheduler.h"
#include "serve/store/store.h"

namespace runnel::serve {

struct ServiceOptions {
  SchedulerOptions scheduler;
  HubOptions hub;
  std::filesystem::path state;  // folder of what outlives the process; empty: nothing does
  Retention retention;          // of what was said
  std::string cluster;  // address of the Redis that streams are shared by; empty: they are not
  std::chrono::milliseconds lease{5000};  // after which a stream's owner is taken for gone
  std::string model_id;                   // as clients name the model
  // SHA-256 of its file, which may take long; throws where it is not wanted any more. Empty: none.
  std::function<std::string(const std::atomic<bool>& is_unwanted)> model_digest;
};

class Service {
 public:
  // Listens when this returns; requests are refused until it begins. Error: the address or a file
  // is no good.
  explicit Service(const HttpOptions& options);
  ~Service();
  // The model must outlive the service. Error: the folder or a file is no good.
  void begin(const Model& model, ServiceOptions options);

  std::uint16_t port() const;
  // No more requests; answers end, streams are parked, and everything stops.
  void stop();

 private:
  struct Work;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace runnel::serve
