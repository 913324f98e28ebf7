#include "serve/service.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <utility>

#include "serve/cluster/cluster.h"
#include "serve/http/router.h"
#include "serve/hub/responses.h"
#include "serve/late_text.h"
#include "serve/log.h"
#include "serve/page/page.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/feeds.h"
#include "serve/protocols/json_body.h"
#include "serve/protocols/metrics_text.h"
#include "serve/protocols/retries.h"
#include "serve/protocols/services.h"
#include "serve/store/store.h"

namespace runnel::serve {
namespace {

constexpr std::chrono::seconds kPatience{30};        // for a client that left its response
constexpr std::chrono::seconds kDigestPatience{2};   // of those who ask what models there are
constexpr std::chrono::seconds kLongestParking{60};  // when the server stops

// Of responses that are not kept.
constexpr Retention kPassing = {.seconds = kRetrySeconds, .bytes = std::int64_t{64} << 20};

constexpr const char* kStreams = "streams";  // folder of snapshots, in that of the state

}  // namespace

// The folder of what outlives the process, or one for parked streams that nobody else can read and
// that goes with the process.
class StateFolder {
 public:
  explicit StateFolder(const std::filesystem::path& state)
      : path_(state), is_passing_(state.empty()) {
    if (is_passing_) {
      std::string name = (std::filesystem::temp_directory_path() / "runnel-XXXXXX").string();
      if (::mkdtemp(name.data()) == nullptr)
        throw Error(fmt::format("{}: cannot make the folder", name));
      path_ = name;
    }
    std::error_code error;
    std::filesystem::create_directories(path_ / kStreams, error);
    if (error)
      throw Error(fmt::format("{}: cannot make the folder: {}", path_.string(), error.message()));
    if (!is_passing_) lock();
  }
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;
  ~StateFolder() {
    std::error_code ignored;
    if (is_passing_) std::filesystem::remove_all(path_, ignored);
    if (lock_ >= 0) ::close(lock_);
  }
  std::filesystem::path of_store() const { return is_passing_ ? "" : path_; }
  HubOptions with(HubOptions options) const {
    options.folder = path_ / kStreams;
    options.is_durable = !is_passing_;
    return options;
  }

 private:
  // Until the process ends, however it ends.
  void lock() {
    const std::string file = (path_ / "lock").string();
    lock_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_ < 0) throw Error(fmt::format("{}: {}", file, std::strerror(errno)));
    if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
    ::close(lock_);
    throw Error(fmt::format("{}: another server keeps its streams there", path_.string()));
  }

  std::filesystem::path path_;
  bool is_passing_;
  int lock_ = -1;
};

std::unique_ptr<SharedStreams> shared_streams(const ServiceOptions& o) {
  if (o.cluster.empty()) return nullptr;
  return std::make_unique<SharedStreams>(RedisAddress::parse(o.cluster), random_id("server_"),
                                         o.lease);
}

// What there is when the model is.
struct Service::Work {
  Scheduler scheduler;
  StateFolder folder;
  Store store;
  Store passing{{}};
  Retention retention;
  std::unique_ptr<SharedStreams> shared;
  std::unique_ptr<Cluster> cluster;
  Hub hub;
  Responses responses{kPatience};
  Services services;
  LateText model_digest;

  Work(const Model& model, ServiceOptions& o)
      : scheduler(o.scheduler),
        folder(o.state),
        store(folder.of_store()),
        retention(o.retention),
        shared(shared_streams(o)),
        hub(model, scheduler, store, hub_options(o)),
        services{.model = model,
                 .scheduler = scheduler,
                 .hub = hub,
                 .store = store,
                 .passing = passing,
                 .responses = responses,
                 .model_id = o.model_id,
                 .started = std::time(nullptr),
                 .model_digest =
                     [this](LateText::Answer answer) { model_digest.ask(std::move(answer)); }},
        model_digest(o.model_digest, kDigestPatience) {
    if (!shared) return;
    store.set_mirror(shared.get());
    cluster = std::make_unique<Cluster>(services, *shared, o.lease);
    services.bring = [this](const std::vector<std::string>& ids, std::function<void(bool)> then) {
      cluster->bring(ids, std::move(then));
    };
    services.all_conversations = [this](const Page& page) { return shared->conversations(page); };
  }

  HubOptions hub_options(const ServiceOptions& o);
  void add_routes(Router& router);
  void tick();
};

struct Service::Parts {
  Router loading;  // until there is work to do
  Router router;
  HttpServer http;  // outlives whatever may still hold a reply
  std::unique_ptr<Work> work;
  bool is_stopped = false;

  explicit Parts(const HttpOptions& options) : http(options, loading) {
    loading.add({{"GET", "/health", answer_alive, false}});
    loading.refuse_all("the model is being loaded");
  }
  std::string http_metrics() const;
};

HubOptions Service::Work::hub_options(const ServiceOptions& o) {
  HubOptions options = folder.with(o.hub);
  if (!shared) return options;
  options.is_durable = true;
  options.shared = shared.get();
  options.let_go = [this](const std::string& stream) { cluster->let_go(stream); };
  return options;
}

void Service::Work::add_routes(Router& router) {
  if (cluster) {
    router.set_before(
        [this](const Request& request, const ReplyPtr& reply, std::function<void()> go_on) {
          cluster->bring(Cluster::ids_of(request), [reply, go_on = std::move(go_on)](bool is_here) {
            is_here ? go_on() : send_error(reply, stream_elsewhere());
          });
        });
  }
  router.add(model_routes(services));
  router.add(chat_completion_routes(services));
  router.add(completion_routes(services));
  router.add(anthropic_routes(services));
  router.add(ollama_routes(services));
  router.add(conversation_routes(services));
  router.add(response_routes(services));
  router.add(response_socket(services));
  router.add(operation_routes(services));
  router.add(openapi_routes());
  router.add(stream_routes(services));
  router.add(page_routes());
}

void Service::Work::tick() {
  hub.tick();
  responses.cancel_left();
  for (const StoredResponse& gone : store.prune(retention, std::time(nullptr)))
    hub.forget_response(gone.id, gone.channel);
  passing.prune(kPassing, std::time(nullptr));
  store.drop_responses(kFeedPrefix, std::time(nullptr) - kRetrySeconds);
}

std::string Service::Parts::http_metrics() const {
  const HttpServer::Counters c = http.counters();
  MetricsText m;
  const auto add = [&m](const char* name, const char* kind, const char* help, std::uint64_t n) {
    m.value(name, kind, help, static_cast<double>(n));
  };
  add("http_connections_total", "counter", "Connections that came.", c.connections);
  add("http_connections_open", "gauge", "Connections that are open.", c.open);
  add("http_requests_total", "counter", "Requests that came whole.", c.requests);
  add("http_refused_total", "counter", "Connections and requests beyond a limit.", c.refused);
  return m.text();
}

Service::Service(const HttpOptions& options) : parts_(std::make_unique<Parts>(options)) {
  parts_->http.start();
}

Service::~Service() { stop(); }

void Service::begin(const Model& model, ServiceOptions options) {
  Parts& p = *parts_;
  p.work = std::make_unique<Work>(model, options);
  Work& work = *p.work;
  work.services.http_metrics = [&p] { return p.http_metrics(); };
  work.add_routes(p.router);
  work.scheduler.begin([&work] { work.tick(); });
  if (work.cluster) work.cluster->begin();
  work.scheduler.post([&work] {
    work.hub.restore();
    resume_responses(work.services);
  });
  p.http.use(p.router);
}

std::uint16_t Service::port() const { return parts_->http.port(); }

// While streams are parked, whoever asks hears that the server is going.
void Service::stop() {
  Parts& p = *parts_;
  if (std::exchange(p.is_stopped, true)) return;
  if (p.work) {
    Work& work = *p.work;
    p.router.refuse_all("the server is stopping");
    const auto done = std::make_shared<std::promise<void>>();
    work.scheduler.post([&work, done] { work.hub.close([done] { done->set_value(); }); });
    if (done->get_future().wait_for(kLongestParking) != std::future_status::ready)
      log_warning("not all streams could be parked in time");
    if (work.cluster) work.cluster->stop();
    work.scheduler.stop();
  }
  p.http.stop_listening();
  p.http.stop();
}

}  // namespace runnel::serve
