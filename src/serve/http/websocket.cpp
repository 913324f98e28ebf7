#include "serve/http/websocket.h"

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "serve/http/transport.inl"

namespace runnel::serve {

// Here, where Boost is included for it.
void Transport::teardown(Done done) {
  std::visit(
      [&](auto& stream) {
        using beast::websocket::async_teardown;
        async_teardown(beast::role_type::server, stream, std::move(done));
      },
      stream_);
}
template <typename Handler>
void async_teardown(beast::role_type, Transport& transport, Handler&& handler) {
  transport.teardown(Done(std::forward<Handler>(handler)));
}

namespace {

namespace http = beast::http;
using HttpMessage = http::request<http::string_body>;

constexpr bool kCompresses = false;  // messages

class WebSocket final : public std::enable_shared_from_this<WebSocket> {
 public:
  WebSocket(Transport transport, HttpMessage message, const HttpLimits& limits,
            std::shared_ptr<void> place)
      : socket_(std::move(transport)),
        message_(std::move(message)),
        limits_(limits),
        place_(std::move(place)) {
    socket_.read_message_max(limits.body_bytes);
    auto timeouts = beast::websocket::stream_base::timeout::suggested(beast::role_type::server);
    timeouts.handshake_timeout = limits.request;
    timeouts.idle_timeout = limits.idle;
    timeouts.keep_alive_pings = true;
    socket_.set_option(timeouts);
  }

  void start(const SocketRoute& route, const Request& request) {
    talk_ = route.open(request, std::make_shared<Messages>(weak_from_this()));
    socket_.async_accept(message_, [self = shared_from_this()](error_code error) {
      self->is_open_ = !error;
      if (error) return self->close();
      self->read();
      if (!self->unsent_.empty()) self->write_next();
    });
  }

  void send(std::string text) {
    n_waiting_ += text.size();
    asio::post(socket_.get_executor(),
               [self = shared_from_this(), text = std::move(text)]() mutable {
                 self->queue(std::move(text));
               });
  }
  bool has_room() const { return n_waiting_ < limits_.paced_bytes; }
  // Of each response that is told here one may wait.
  void when_room(std::function<void()> call) {
    asio::post(socket_.get_executor(),
               [self = shared_from_this(), call = std::move(call)]() mutable {
                 if (self->is_closed_) return;
                 if (self->has_room()) return call();
                 self->when_room_.push_back(std::move(call));
               });
  }

 private:
  class Messages final : public Outlet {
   public:
    explicit Messages(std::weak_ptr<WebSocket> socket) : socket_(std::move(socket)) {}
    void write(std::string text) override {
      if (const auto socket = socket_.lock()) socket->send(std::move(text));
    }
    bool has_room() const override {
      const auto socket = socket_.lock();
      return socket == nullptr || socket->has_room();
    }
    void when_room(std::function<void()> call) override {
      if (const auto socket = socket_.lock()) socket->when_room(std::move(call));
    }

   private:
    std::weak_ptr<WebSocket> socket_;
  };

  void read() {
    socket_.async_read(buffer_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->close();
      const std::string text = beast::buffers_to_string(self->buffer_.data());
      self->buffer_.consume(self->buffer_.size());
      self->talk_->received(text);
      self->read();
    });
  }
  void queue(std::string text) {
    if (is_closed_) return;
    unsent_bytes_ += text.size();
    unsent_.push_back(std::move(text));
    if (unsent_bytes_ > limits_.unsent_bytes) return close();
    if (is_open_ && unsent_.size() == 1) write_next();
  }
  void write_next() {
    socket_.text(true);
    socket_.async_write(asio::buffer(unsent_.front()),
                        [self = shared_from_this()](error_code error, std::size_t) {
                          if (error) return self->close();
                          self->unsent_bytes_ -= self->unsent_.front().size();
                          self->n_waiting_ -= self->unsent_.front().size();
                          self->unsent_.pop_front();
                          if (self->has_room()) self->go_on();
                          if (!self->unsent_.empty()) self->write_next();
                        });
  }
  void go_on() {
    for (const auto& call : std::exchange(when_room_, {})) call();
  }
  void close() {
    if (is_closed_) return;
    is_closed_ = true;
    when_room_.clear();
    beast_close_socket(socket_.next_layer());
    if (talk_) talk_->closed();
  }

  beast::websocket::stream<Transport, kCompresses> socket_;
  HttpMessage message_;
  HttpLimits limits_;
  std::shared_ptr<void> place_;
  beast::flat_buffer buffer_;
  std::shared_ptr<SocketTalk> talk_;
  std::deque<std::string> unsent_;
  std::vector<std::function<void()>> when_room_;
  std::size_t unsent_bytes_ = 0;
  std::atomic<std::size_t> n_waiting_ = 0;  // bytes, those that are on their way here among them
  bool is_open_ = false;
  bool is_closed_ = false;
};

}  // namespace

template <typename Message>
bool is_websocket_upgrade(const Message& message) {
  return beast::websocket::is_upgrade(message);
}

template <typename Message>
void accept_websocket(Transport transport, Message message, const SocketRoute& route,
                      const Request& request, const HttpLimits& limits,
                      std::shared_ptr<void> place) {
  std::make_shared<WebSocket>(std::move(transport), std::move(message), limits, std::move(place))
      ->start(route, request);
}

template bool is_websocket_upgrade(const HttpMessage&);
template void accept_websocket(Transport, HttpMessage, const SocketRoute&, const Request&,
                               const HttpLimits&, std::shared_ptr<void>);

}  // namespace runnel::serve
