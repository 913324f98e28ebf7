// For whoever runs the server: /health, /ready, and /metrics in Prometheus' text format.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/resident_memory.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/json_body.h"
#include "serve/protocols/metrics_text.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

void MetricsText::value(const char* name, const char* kind, const char* help, double value) {
  text_ += fmt::format("# HELP runnel_{0} {2}\n# TYPE runnel_{0} {1}\nrunnel_{0} {3}\n", name, kind,
                       help, value);
}

void MetricsText::histogram(const char* name, const char* help, const Histogram& h) {
  text_ += fmt::format("# HELP runnel_{0} {1}\n# TYPE runnel_{0} histogram\n", name, help);
  for (std::size_t i = 0; i < Histogram::kBounds.size(); ++i)
    text_ += fmt::format("runnel_{}_bucket{{le=\"{}\"}} {}\n", name, Histogram::kBounds[i],
                         h.counts()[i]);
  text_ += fmt::format(
      "runnel_{0}_bucket{{le=\"+Inf\"}} {1}\nrunnel_{0}_sum {2}\n"
      "runnel_{0}_count {1}\n",
      name, h.n(), h.sum());
}

namespace {

std::string metrics_text(const Services& services) {
  const Hub& hub = services.hub;
  const Hub::Counters c = hub.counters();
  const Scheduler::Counters s = services.scheduler.counters();
  const auto number = [](auto n) { return static_cast<double>(n); };
  MetricsText m;
  m.value("streams", "gauge", "Streams that are kept.", number(c.streams));
  m.value("streams_awake", "gauge", "Of them, in memory.", number(c.awake));
  m.value("streams_parked", "gauge", "Of them, on disk.", number(c.streams - c.awake));
  m.value("stream_bytes", "gauge", "Memory of streams.", number(c.bytes));
  m.value("stream_bytes_limit", "gauge", "Memory that streams may take.",
          number(hub.options().memory_bytes));
  m.value("store_bytes", "gauge", "Of what was said, in the store.",
          number(services.store.bytes()));
  m.value("resident_memory_bytes", "gauge", "Memory of the process.", number(resident_bytes()));
  m.value("answers", "gauge", "Answers under way or waiting.", number(c.answers));
  m.value("steps_total", "counter", "Steps of the model.", number(s.steps));
  m.value("tokens_read_total", "counter", "Tokens read.", number(s.tokens_read));
  m.value("tokens_written_total", "counter", "Tokens written.", number(s.tokens_written));
  m.value("tokens_evicted_total", "counter", "Tokens that left a window.", number(c.evicted));
  m.value("streams_parked_total", "counter", "Streams written to disk.", number(c.parked));
  m.value("streams_woken_total", "counter", "Streams brought back.", number(c.woken));
  m.value("guard_loops_total", "counter", "Times that a stream began to repeat itself.",
          number(c.loops));
  m.value("guard_drifts_total", "counter", "Times that a measure of a stream left its bounds.",
          number(c.drifts));
  m.value("guard_rebuilt_total", "counter", "Caches made anew.", number(c.rebuilt));
  if (const Model::DeviceUse device = services.model.device(); !device.is_cpu) {
    m.value("device_layers", "gauge", "Layers of the model on the device.", device.layers);
    m.value("device_memory_bytes", "gauge", "Memory of the device that is taken.",
            number(device.memory_bytes));
    m.value("device_launches_total", "counter", "Kernels launched on the device.",
            number(device.launches));
    m.value("device_seconds_total", "counter", "Time in steps of the device.", device.seconds);
  }
  double log_probability = 0, entropy = 0, sink_share = 0;
  std::size_t n = 0, n_looping = 0;
  for (const auto& [id, channel] : hub.channels()) {
    if (!channel->stream) continue;
    log_probability += channel->guard.measures().written_log_probability;
    entropy += channel->guard.measures().entropy;
    sink_share += channel->guard.measures().sink_share;
    n_looping += channel->guard.measures().loop > 0 ? 1 : 0;
    ++n;
  }
  const double divisor = n > 0 ? number(n) : 1;
  m.value("guard_log_probability", "gauge", "Of written tokens, mean of the streams in memory.",
          log_probability / divisor);
  m.value("guard_entropy", "gauge", "Of the next token, in nats, mean of the streams in memory.",
          entropy / divisor);
  m.value("guard_sink_share", "gauge", "Of the attention, mean of the streams in memory.",
          sink_share / divisor);
  m.value("guard_streams_in_loop", "gauge", "Streams that repeat themselves.", number(n_looping));
  m.value("longest_step_seconds", "gauge", "The longest step in which a stream wrote.",
          s.longest_step_seconds);
  m.histogram("first_token_seconds", "From a request to its first token.", hub.first_token());
  m.histogram("token_seconds", "From a token to the next.", hub.next_token());
  return m.text();
}

}  // namespace

void answer_alive(const Request&, const ReplyPtr& reply) { send_json(reply, {{"status", "ok"}}); }

std::vector<Route> operation_routes(const Services& services) {
  // Streams can be worked on: what was there before is restored, and nothing is stopping.
  const auto ready = [&services](const Request& request, const ReplyPtr& reply) {
    on_streams(services, reply, [request, reply] { answer_alive(request, reply); });
  };
  const auto metrics = [&services](const Request&, const ReplyPtr& reply) {
    on_streams(services, reply, [&services, reply] {
      reply->send(200, "text/plain; version=0.0.4",
                  metrics_text(services) + (services.http_metrics ? services.http_metrics() : ""));
    });
  };
  return {{"GET", "/health", answer_alive, false},
          {"GET", "/ready", ready, false},
          {"GET", "/metrics", metrics}};
}

}  // namespace runnel::serve
