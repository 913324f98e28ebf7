// runnel serve: many endless streams behind OpenAI's API.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/model_cache.h"
#include "cli/sha256.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/validators.h"
#include "serve/log.h"
#include "serve/service.h"

namespace runnel::cli {
namespace {

constexpr const char* kServeExamples = R"(Examples:
  runnel serve model.gguf
  runnel serve model.gguf --state /var/lib/runnel        conversations outlive the server
  curl http://127.0.0.1:8080/v1/responses -d '{"input": "Hello!"}'

SIGTERM and Ctrl-C end the server: answers stop, streams are written to --state.)";

class Serve final : public Command {
 public:
  explicit Serve(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  void add_state_options();
  void add_room_options();
  void add_guard_options();
  void add_http_options();
  serve::HttpOptions http_options() const;
  serve::ServiceOptions options() const;
  void take_from(const std::string& config);
  std::vector<std::string> keys() const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  SamplingArguments sampling_;
  std::string host_ = "127.0.0.1";
  int port_ = 8080;
  std::string state_;
  std::string cluster_;
  int lease_seconds_ = 5;
  std::string model_id_;
  std::string template_name_;
  std::uint64_t memory_ = 0;  // 0: half of what is free
  int longest_wait_ms_ = 200;
  int idle_seconds_ = 300;
  int keep_days_ = 0;
  std::uint64_t store_size_ = 0;  // 0: with --state no limit, without 256 MiB
  std::uint64_t parked_size_ = std::uint64_t{8} << 30;
  std::string on_loop_ = "tell", on_drift_ = "tell";
  serve::GuardOptions guard_;
  std::string key_file_;
  std::string certificate_, certificate_key_;
  int largest_body_mib_ = 16;
  int connections_ = 10000;
  std::string log_format_ = "text";
  bool logs_requests_ = false;
};

Serve::Serve(CLI::App& program)
    : app_(program.add_subcommand("serve", "Serve many endless streams over HTTP")) {
  app_->footer(kServeExamples);
  app_->add_option_function<std::string>(
          "--config", [this](const std::string& path) { take_from(path); },
          "Options from a file, a line each: name = value (what stands here too counts)")
      ->type_name("FILE");
  model_.add_to(*app_);
  app_->add_option("--host", host_, "Address to listen on")->type_name("ADDRESS");
  app_->add_option("--port", port_, "Port; 0: any that is free, which the first line says")
      ->type_name("N")
      ->check(whole_within(0, 65535));
  add_state_options();
  app_->add_option("--model-id", model_id_,
                   "Name of the model for clients (default: the file's, or that of 'runnel pull')")
      ->type_name("NAME");
  app_->add_option("--chat-template", template_name_,
                   "How turns are written, when the model does not say: a name, a file with a "
                   "template; plain: a line a message")
      ->type_name("NAME");
  add_room_options();
  add_guard_options();
  add_http_options();
  stream_.add_to(*app_);
  sampling_.add_to(*app_);
}

void Serve::add_state_options() {
  app_->add_option("--state", state_,
                   "Folder for what outlives the server: conversations, responses, parked streams "
                   "(default: nothing does, and streams are parked in a private folder in TMPDIR)")
      ->type_name("DIR");
  CLI::Option* cluster =
      app_->add_option(
              "--cluster", cluster_,
              "Redis or Valkey by which several servers share streams, in place of --state "
              "(docs/cluster.md)")
          ->type_name("redis://HOST:PORT")
          ->excludes("--state");
  app_->add_option("--lease", lease_seconds_,
                   "Seconds after which a server of the cluster is taken for gone")
      ->type_name("S")
      ->check(whole_within(1, 3600))
      ->needs(cluster);
}

// Of memory, disk and time.
void Serve::add_room_options() {
  const auto add_size = [this](const char* name, std::uint64_t& size, const char* what) {
    app_->add_option(name, size, what)
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false).description(""))
        ->default_str("");
  };
  add_size("--memory", memory_,
           "Memory for streams, as 8G or 500M (default: half of what is free)");
  app_->add_option("--longest-wait", longest_wait_ms_,
                   "Milliseconds that a stream which writes may wait for others that read")
      ->type_name("MS")
      ->check(whole_within(1, 60000));
  app_->add_option("--idle", idle_seconds_, "Seconds after which an idle stream is parked on disk")
      ->type_name("S")
      ->check(whole_within(1, 1 << 30));
  app_->add_option("--keep-days", keep_days_,
                   "Days that responses and items are kept; 0: until there is no room")
      ->type_name("N")
      ->check(whole_within(0, 36500));
  add_size("--store-size", store_size_,
           "Room for responses and items, of which the oldest go first (default: with --state as "
           "much as there is, else 256M of memory)");
  add_size("--parked-size", parked_size_,
           "Disk for parked streams of stateless requests (default: 8G)");
}

void Serve::add_guard_options() {
  const auto add_action = [&](const char* name, std::string& value, const char* help) {
    app_->add_option(name, value, help)
        ->type_name("tell|stop|heat|rebuild")
        ->check(CLI::IsMember({"tell", "stop", "heat", "rebuild"}).description(""));
  };
  const auto add_bound = [&](const char* name, std::optional<double>& value, const char* help) {
    app_->add_option(name, value, help)->type_name("X")->default_str("");
  };
  add_action("--on-loop", on_loop_,
             "Where a stream repeats itself: tell; stop the answer; heat: sample with a higher "
             "temperature; rebuild: make its cache anew");
  add_action("--on-drift", on_drift_, "Where a measure leaves the bounds below: the same");
  add_bound("--least-likelihood", guard_.least_log_probability,
            "Bound of the mean log probability of what is written, as -6");
  add_bound("--least-entropy", guard_.least_entropy, "Bound of the entropy, in nats");
  add_bound("--most-entropy", guard_.most_entropy, "The other one");
  add_bound("--least-sink-share", guard_.least_sink_share,
            "Bound of the share of the attention that the sinks get, 0 to 1");
}

void Serve::add_http_options() {
  app_->add_option("--key-file", key_file_, "API keys, one a line; without it nobody needs one")
      ->type_name("FILE");
  CLI::Option* certificate =
      app_->add_option("--tls-cert", certificate_, "Certificate chain (PEM): serve HTTPS")
          ->type_name("FILE");
  CLI::Option* key =
      app_->add_option("--tls-key", certificate_key_, "Its private key (PEM)")->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
  app_->add_option("--max-body", largest_body_mib_, "Largest request")
      ->type_name("MIB")
      ->check(whole_within(1, 1024));
  app_->add_option("--max-connections", connections_, "Connections at a time")
      ->type_name("N")
      ->check(whole_within(1, 1000000));
  app_->add_option("--log-format", log_format_, "Of the lines on standard error")
      ->type_name("text|json")
      ->check(CLI::IsMember({"text", "json"}).description(""));
  app_->add_flag("--access-log", logs_requests_,
                 "A line for each request: client, path, status, bytes, time");
}

// Half of what the system could give without swapping.
std::size_t half_of_free_memory() {
  std::ifstream in("/proc/meminfo");
  for (std::string name; in >> name;) {
    std::size_t kibibytes = 0;
    if (name == "MemAvailable:" && in >> kibibytes) return kibibytes * 512;
  }
  return std::size_t{1} << 30;
}

std::vector<std::string> Serve::keys() const {
  std::vector<std::string> keys;
  if (key_file_.empty()) return keys;
  std::ifstream in(key_file_);
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) keys.push_back(line);
  }
  if (keys.empty()) throw Error(key_file_ + ": want API keys, one a line, found none");
  return keys;
}

// A file's values count for options that the command line does not have. It is read while the
// command line is, before the other options are looked at.
void Serve::take_from(const std::string& config) {
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_file(config)) {
    const std::string name = item.fullname();
    if (name == "++" || name == "--") continue;  // of a section
    CLI::Option* option = app_->get_option_no_throw("--" + name);
    if (option == nullptr || name == "config" || name == "help")
      throw CLI::ValidationError(
          fmt::format("{}: there is no option {} (see 'runnel serve --help')", config, name));
    if (option->count() > 0) continue;
    if (option->get_expected_max() == 0) {
      if (item.inputs != std::vector<std::string>{"true"}) continue;
      option->add_result(option->get_flag_value("--" + name, "true"));
    } else {
      for (const std::string& value : item.inputs) option->add_result(value);
    }
  }
}

serve::HttpOptions Serve::http_options() const {
  serve::HttpOptions o = {.host = host_,
                          .port = static_cast<std::uint16_t>(port_),
                          .keys = keys(),
                          .certificate_file = certificate_,
                          .key_file = certificate_key_,
                          .logs_requests = logs_requests_};
  o.limits.body_bytes = static_cast<std::size_t>(largest_body_mib_) << 20;
  o.limits.connections = static_cast<std::size_t>(connections_);
  return o;
}

serve::ServiceOptions Serve::options() const {
  serve::ServiceOptions o;
  o.scheduler.longest_wait = std::chrono::milliseconds(longest_wait_ms_);
  o.hub.stream = stream_.options();
  o.hub.stream.sampling = sampling_.over({});
  o.hub.template_name = template_name_;
  o.hub.memory_bytes = memory_ > 0 ? memory_ : half_of_free_memory();
  o.hub.guard = guard_;
  o.hub.guard.on_loop = *serve::action_named(on_loop_);
  o.hub.guard.on_drift = *serve::action_named(on_drift_);
  o.hub.idle = std::chrono::seconds(idle_seconds_);
  o.hub.parked_bytes = parked_size_;
  o.state = state_;
  o.cluster = cluster_;
  o.lease = std::chrono::seconds(lease_seconds_);
  constexpr std::uint64_t kInMemory = std::uint64_t{256} << 20;
  const std::uint64_t store_size = store_size_ == 0 && state_.empty() ? kInMemory : store_size_;
  o.retention = {.seconds = std::int64_t{keep_days_} * 86400,
                 .bytes = static_cast<std::int64_t>(store_size)};
  o.model_digest = [file = model_.path()](const std::atomic<bool>& is_unwanted) {
    if (!std::filesystem::is_regular_file(file)) return std::string();
    return sha256_of(file, [&](std::uint64_t) {
      if (is_unwanted) throw Error("nobody wants the model's digest any more");
    });
  };
  o.model_id = model_id_.empty() ? model_nickname(model_.path()) : model_id_;
  return o;
}

void Serve::run() {
  serve::set_log_format(log_format_ == "json" ? serve::LogFormat::kJson : serve::LogFormat::kText);
  std::optional<Model> model;
  serve::Service service(http_options());  // whoever asks meanwhile hears that it is not ready
  model.emplace(model_.load());
  StopSignals stop;
  service.begin(*model, options());
  serve::log_info(fmt::format("{} on {}://{}:{}", model->name(),
                              certificate_.empty() ? "http" : "https", host_, service.port()));
  while (!stop.requested()) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  serve::log_info("stopping");
  service.stop();
}

}  // namespace

std::unique_ptr<Command> add_serve(CLI::App& program) { return std::make_unique<Serve>(program); }

}  // namespace runnel::cli
