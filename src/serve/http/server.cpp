#include "serve/http/server.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "runnel/error.h"
#include "serve/http/connection.inl"
#include "serve/http/transport_io.inl"

namespace runnel::serve {
namespace {

tcp::endpoint endpoint_of(asio::io_context& context, const HttpOptions& options) {
  error_code error;
  const asio::ip::address address = asio::ip::make_address(options.host, error);
  if (!error) return {address, options.port};
  tcp::resolver resolver(context);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), error);
  if (error || found.empty())
    throw Error(fmt::format("host {}: {}", options.host, error.message()));
  return found.begin()->endpoint();
}

// As many files as the system lets this process have: each connection is one.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

struct HttpServer::State {
  HttpOptions options;
  std::shared_ptr<Shared> shared;
  asio::io_context context;
  std::optional<asio::ssl::context> tls;
  asio::strand<asio::io_context::executor_type> accepting = asio::make_strand(context);
  tcp::acceptor acceptor{accepting};
  asio::steady_timer pause{accepting};
  std::vector<std::thread> threads;

  State(const HttpOptions& wanted, const Router& router)
      : options(wanted),
        shared(new Shared{.router = &router,
                          .limits = wanted.limits,
                          .keys = Keys(wanted.keys),
                          .logs_requests = wanted.logs_requests}) {}

  void use_tls();
  void listen();
  void accept();
  void accepted(error_code error, tcp::socket socket);
};

void HttpServer::State::use_tls() {
  if (options.certificate_file.empty()) return;
  tls.emplace(asio::ssl::context::tls_server);
  tls->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                   asio::ssl::context::no_tlsv1_1);
  error_code error;
  tls->use_certificate_chain_file(options.certificate_file, error);
  if (error) throw Error(fmt::format("{}: {}", options.certificate_file, error.message()));
  tls->use_private_key_file(options.key_file, asio::ssl::context::pem, error);
  if (error) throw Error(fmt::format("{}: {}", options.key_file, error.message()));
}

void HttpServer::State::listen() {
  const tcp::endpoint endpoint = endpoint_of(context, options);
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(4096, error);
  if (error)
    throw Error(fmt::format("{} port {}: {}", options.host, options.port, error.message()));
}

void HttpServer::State::accept() {
  acceptor.async_accept(asio::make_strand(context), [this](error_code error, tcp::socket socket) {
    accepted(error, std::move(socket));
  });
}

void HttpServer::State::accepted(error_code error, tcp::socket socket) {
  if (!acceptor.is_open()) return;
  if (error) {  // no more files, for example: others may close some
    pause.expires_after(std::chrono::milliseconds(50));
    pause.async_wait([this](error_code) { accept(); });
    return;
  }
  ++shared->n_connections;
  if (shared->n_open >= shared->limits.connections) {
    ++shared->n_refused;
    error_code ignored;
    socket.close(ignored);
  } else {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    Transport transport =
        tls ? Transport(TlsStream(std::move(socket), *tls)) : Transport(std::move(socket));
    std::make_shared<Connection>(std::move(transport), shared)->start();
  }
  accept();
}

HttpServer::HttpServer(const HttpOptions& options, const Router& router)
    : state_(std::make_unique<State>(options, router)) {
  raise_file_limit();
  state_->use_tls();
  state_->listen();
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::use(const Router& router) { state_->shared->router = &router; }

void HttpServer::start() {
  state_->accept();
  for (int i = 0; i < state_->options.threads; ++i)
    state_->threads.emplace_back([this] { state_->context.run(); });
}

void HttpServer::stop_listening() {
  state_->shared->is_stopping = true;
  asio::post(state_->accepting, [this] {
    error_code ignored;
    state_->acceptor.close(ignored);
  });
}

void HttpServer::stop() {
  state_->shared->is_stopping = true;
  state_->context.stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
}

std::uint16_t HttpServer::port() const { return state_->acceptor.local_endpoint().port(); }

HttpServer::Counters HttpServer::counters() const {
  const Shared& s = *state_->shared;
  return {.connections = s.n_connections,
          .open = s.n_open,
          .requests = s.n_requests,
          .refused = s.n_refused};
}

}  // namespace runnel::serve
