// A server, whole: the parts in the order they are made, and unmade.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "runnel/runnel.h"
#include "serve/http/server.h"
#include "serve/hub/hub.h"
#include "serve/scheduler/scheduler.h"

namespace runnel::serve {

struct ServiceOptions {
  HttpOptions http;
  SchedulerOptions scheduler;
  HubOptions hub;
  std::filesystem::path state;  // folder of what outlives the process; empty: nothing does
  std::string model_id;         // as clients name the model
};

class Service {
 public:
  // The model must outlive the service. Listens when this returns. Error: the address, the folder
  // or a file is no good.
  Service(const Model& model, ServiceOptions options);
  ~Service();

  std::uint16_t port() const;
  // No more requests; answers end, streams are parked, and everything stops.
  void stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace runnel::serve
