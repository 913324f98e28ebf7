#include "serve/service.h"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <utility>

#include "serve/http/router.h"
#include "serve/hub/responses.h"
#include "serve/log.h"
#include "serve/protocols/services.h"
#include "serve/store/store.h"

namespace runnel::serve {
namespace {

constexpr std::chrono::seconds kPatience{30};        // for a client that left its response
constexpr std::chrono::seconds kLongestParking{60};  // when the server stops

HubOptions with_folder(HubOptions options, const std::filesystem::path& state) {
  if (state.empty()) return options;
  options.folder = state / "streams";
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error)
    throw Error(
        fmt::format("{}: cannot make the folder: {}", options.folder.string(), error.message()));
  return options;
}

}  // namespace

struct Service::Parts {
  Scheduler scheduler;
  Hub hub;  // its options make the folder, which the store needs
  Store store;
  Responses responses{kPatience};
  Services services;
  Router router;
  HttpServer http;
  bool is_stopped = false;

  Parts(const Model& model, ServiceOptions& o)
      : scheduler(o.scheduler),
        hub(model, scheduler, with_folder(o.hub, o.state)),
        store(o.state),
        services{.model = model,
                 .scheduler = scheduler,
                 .hub = hub,
                 .store = store,
                 .responses = responses,
                 .model_id = o.model_id,
                 .started = std::time(nullptr)},
        http(o.http, router) {
    router.add(model_routes(services));
    router.add(chat_completion_routes(services));
    router.add(completion_routes(services));
    router.add(conversation_routes(services));
    router.add(response_routes(services));
  }
};

Service::Service(const Model& model, ServiceOptions options)
    : parts_(std::make_unique<Parts>(model, options)) {
  Parts& p = *parts_;
  p.scheduler.begin([&p] {
    p.hub.tick();
    p.responses.cancel_left();
  });
  p.http.start();
}

Service::~Service() { stop(); }

std::uint16_t Service::port() const { return parts_->http.port(); }

void Service::stop() {
  Parts& p = *parts_;
  if (std::exchange(p.is_stopped, true)) return;
  p.http.stop_listening();
  const auto done = std::make_shared<std::promise<void>>();
  p.scheduler.post([&p, done] { p.hub.close([done] { done->set_value(); }); });
  if (done->get_future().wait_for(kLongestParking) != std::future_status::ready)
    log_warning("not all streams could be parked in time");
  p.scheduler.stop();
  p.http.stop();
}

}  // namespace runnel::serve
