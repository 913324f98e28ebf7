#include "serve/service.h"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <utility>

#include "serve/http/router.h"
#include "serve/hub/responses.h"
#include "serve/log.h"
#include "serve/page/page.h"
#include "serve/protocols/services.h"
#include "serve/store/store.h"

namespace runnel::serve {
namespace {

constexpr std::chrono::seconds kPatience{30};        // for a client that left its response
constexpr std::chrono::seconds kLongestParking{60};  // when the server stops

constexpr const char* kStreams = "streams";  // folder of snapshots, in that of the state

std::filesystem::path made_folder(const std::filesystem::path& state) {
  if (state.empty()) return state;
  std::error_code error;
  std::filesystem::create_directories(state / kStreams, error);
  if (error)
    throw Error(fmt::format("{}: cannot make the folder: {}", state.string(), error.message()));
  return state;
}

HubOptions with_folder(HubOptions options, const std::filesystem::path& state) {
  if (!state.empty()) options.folder = state / kStreams;
  return options;
}

}  // namespace

struct Service::Parts {
  Router router;
  HttpServer http;  // outlives whatever may still hold a reply
  Scheduler scheduler;
  std::filesystem::path folder;  // of the state, made
  Store store;
  Hub hub;
  Responses responses{kPatience};
  Services services;
  bool is_stopped = false;

  std::string http_metrics() const;

  Parts(const Model& model, ServiceOptions& o)
      : http(o.http, router),
        scheduler(o.scheduler),
        folder(made_folder(o.state)),
        store(folder),
        hub(model, scheduler, store, with_folder(o.hub, folder)),
        services{.model = model,
                 .scheduler = scheduler,
                 .hub = hub,
                 .store = store,
                 .responses = responses,
                 .model_id = o.model_id,
                 .started = std::time(nullptr)} {
    router.add(model_routes(services));
    router.add(chat_completion_routes(services));
    router.add(completion_routes(services));
    router.add(conversation_routes(services));
    router.add(response_routes(services));
    router.add(response_socket(services));
    router.add(operation_routes(services));
    router.add(stream_routes(services));
    router.add(page_routes());
    services.http_metrics = [this] { return http_metrics(); };
  }
};

std::string Service::Parts::http_metrics() const {
  const HttpServer::Counters c = http.counters();
  return fmt::format(
      "# TYPE runnel_http_connections_total counter\nrunnel_http_connections_total {}\n"
      "# TYPE runnel_http_connections_open gauge\nrunnel_http_connections_open {}\n"
      "# TYPE runnel_http_requests_total counter\nrunnel_http_requests_total {}\n"
      "# TYPE runnel_http_refused_total counter\nrunnel_http_refused_total {}\n",
      c.connections, c.open, c.requests, c.refused);
}

Service::Service(const Model& model, ServiceOptions options)
    : parts_(std::make_unique<Parts>(model, options)) {
  Parts& p = *parts_;
  p.scheduler.begin([&p] {
    p.hub.tick();
    p.responses.cancel_left();
  });
  p.scheduler.post([&p] {
    p.hub.restore();
    resume_responses(p.services);
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
