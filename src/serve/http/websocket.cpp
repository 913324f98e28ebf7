#include "serve/http/websocket.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <deque>
#include <memory>
#include <string>
#include <utility>

namespace runnel::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using HttpMessage = http::request<http::string_body>;

template <typename Transport>
class WebSocket final : public std::enable_shared_from_this<WebSocket<Transport>> {
 public:
  WebSocket(Transport transport, HttpMessage message, const HttpLimits& limits)
      : socket_(std::move(transport)), message_(std::move(message)), limits_(limits) {
    socket_.read_message_max(limits.body_bytes);
    auto timeouts = beast::websocket::stream_base::timeout::suggested(beast::role_type::server);
    timeouts.handshake_timeout = limits.request;
    timeouts.idle_timeout = limits.idle;
    timeouts.keep_alive_pings = true;
    socket_.set_option(timeouts);
  }

  void start(const SocketRoute& route, const Request& request) {
    const std::weak_ptr<WebSocket> self = this->weak_from_this();
    talk_ = route.open(request, [self](std::string text) {
      if (const auto socket = self.lock()) socket->send(std::move(text));
    });
    socket_.async_accept(message_, [self = this->shared_from_this()](error_code error) {
      self->is_open_ = !error;
      if (error) return self->close();
      self->read();
      if (!self->unsent_.empty()) self->write_next();
    });
  }

  void send(std::string text) {
    asio::post(socket_.get_executor(),
               [self = this->shared_from_this(), text = std::move(text)]() mutable {
                 self->queue(std::move(text));
               });
  }

 private:
  void read() {
    socket_.async_read(buffer_, [self = this->shared_from_this()](error_code error, std::size_t) {
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
                        [self = this->shared_from_this()](error_code error, std::size_t) {
                          if (error) return self->close();
                          self->unsent_bytes_ -= self->unsent_.front().size();
                          self->unsent_.pop_front();
                          if (!self->unsent_.empty()) self->write_next();
                        });
  }
  void close() {
    if (is_closed_) return;
    is_closed_ = true;
    error_code ignored;
    beast::get_lowest_layer(socket_).close(ignored);
    if (talk_) talk_->closed();
  }

  beast::websocket::stream<Transport> socket_;
  HttpMessage message_;
  HttpLimits limits_;
  beast::flat_buffer buffer_;
  std::shared_ptr<SocketTalk> talk_;
  std::deque<std::string> unsent_;
  std::size_t unsent_bytes_ = 0;
  bool is_open_ = false;
  bool is_closed_ = false;
};

}  // namespace

template <typename Message>
bool is_websocket_upgrade(const Message& message) {
  return beast::websocket::is_upgrade(message);
}

template <typename Transport, typename Message>
void accept_websocket(Transport transport, Message message, const SocketRoute& route,
                      const Request& request, const HttpLimits& limits) {
  std::make_shared<WebSocket<Transport>>(std::move(transport), std::move(message), limits)
      ->start(route, request);
}

template bool is_websocket_upgrade(const HttpMessage&);
template void accept_websocket(tcp::socket, HttpMessage, const SocketRoute&, const Request&,
                               const HttpLimits&);
template void accept_websocket(asio::ssl::stream<tcp::socket>, HttpMessage, const SocketRoute&,
                               const Request&, const HttpLimits&);

}  // namespace runnel::serve
