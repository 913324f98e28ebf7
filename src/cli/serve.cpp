// runnel serve: many endless streams behind OpenAI's API.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/validators.h"
#include "serve/log.h"
#include "serve/service.h"

namespace runnel::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
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
  serve::ServiceOptions options(const Model& model) const;
  std::vector<std::string> keys() const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  SamplingArguments sampling_;
  std::string host_ = "127.0.0.1";
  int port_ = 8080;
  std::string state_;
  std::string model_id_;
  std::string template_name_;
  std::uint64_t memory_ = 0;  // 0: half of what is free
  int longest_wait_ms_ = 200;
  int idle_seconds_ = 300;
  std::string on_loop_ = "tell";
  std::string key_file_;
  std::string certificate_, certificate_key_;
  int largest_body_mib_ = 16;
  int connections_ = 10000;
  std::string log_format_ = "text";
};

Serve::Serve(CLI::App& program)
    : app_(program.add_subcommand("serve", "Serve many endless streams over HTTP")) {
  app_->footer(kFooter);
  model_.add_to(*app_);
  app_->add_option("--host", host_, "Address to listen on")->type_name("ADDRESS");
  app_->add_option("--port", port_, "Port; 0: any that is free, which the first line says")
      ->type_name("N")
      ->check(whole_within(0, 65535));
  app_->add_option("--state", state_,
                   "Folder for what outlives the server: conversations, responses, parked streams")
      ->type_name("DIR");
  app_->add_option("--model-id", model_id_, "Name of the model for clients (default: the file's)")
      ->type_name("NAME");
  app_->add_option("--chat-template", template_name_,
                   "How turns are written, when the model does not say; plain: a line a message")
      ->type_name("NAME");
  app_->add_option("--memory", memory_,
                   "Memory for streams, as 8G or 500M (default: half of what is free)")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->default_str("");
  app_->add_option("--longest-wait", longest_wait_ms_,
                   "Milliseconds that a stream which writes may wait for others that read")
      ->type_name("MS")
      ->check(whole_within(1, 60000));
  app_->add_option("--idle", idle_seconds_,
                   "Seconds after which an idle stream is parked in --state")
      ->type_name("S")
      ->check(whole_within(1, 1 << 30));
  app_->add_option("--on-loop", on_loop_,
                   "Where a stream repeats itself: tell; stop the answer; heat: sample with a "
                   "higher temperature")
      ->type_name("tell|stop|heat")
      ->check(CLI::IsMember({"tell", "stop", "heat"}).description(""));
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
  stream_.add_to(*app_);
  sampling_.add_to(*app_);
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

serve::ServiceOptions Serve::options(const Model& model) const {
  serve::ServiceOptions o;
  o.http = {.host = host_,
            .port = static_cast<std::uint16_t>(port_),
            .keys = keys(),
            .certificate_file = certificate_,
            .key_file = certificate_key_};
  o.http.limits.body_bytes = static_cast<std::size_t>(largest_body_mib_) << 20;
  o.http.limits.connections = static_cast<std::size_t>(connections_);
  o.scheduler.longest_wait = std::chrono::milliseconds(longest_wait_ms_);
  o.hub.stream = stream_.options();
  o.hub.stream.sampling = sampling_.over({});
  o.hub.template_name = template_name_;
  o.hub.memory_bytes = memory_ > 0 ? memory_ : half_of_free_memory();
  o.hub.on_loop = on_loop_ == "stop"   ? serve::LoopAction::kStop
                  : on_loop_ == "heat" ? serve::LoopAction::kHeat
                                       : serve::LoopAction::kTell;
  o.hub.idle = std::chrono::seconds(idle_seconds_);
  o.state = state_;
  o.model_id = model_id_.empty() ? model.name() : model_id_;
  return o;
}

void Serve::run() {
  serve::set_log_format(log_format_ == "json" ? serve::LogFormat::kJson : serve::LogFormat::kText);
  const Model model = model_.load();
  StopSignals stop;
  serve::Service service(model, options(model));
  serve::log_info(fmt::format("{} on {}://{}:{}", model.name(),
                              certificate_.empty() ? "http" : "https", host_, service.port()));
  while (!stop.requested()) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  serve::log_info("stopping");
  service.stop();
}

}  // namespace

std::unique_ptr<Command> add_serve(CLI::App& program) { return std::make_unique<Serve>(program); }

}  // namespace runnel::cli
