// One connection of HTTP/1.1: requests one after another, each with its reply. Included by
// server.cpp alone: Boost compiles slowly.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "serve/http/auth.h"
#include "serve/http/limits.h"
#include "serve/http/router.h"
#include "serve/http/transport.inl"
#include "serve/http/websocket.h"
#include "serve/log.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {

namespace http = beast::http;

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr std::chrono::seconds kFirstProbe{1}, kNextProbe{30};  // of a client that may have left

// What all connections share.
struct Shared {
  std::atomic<const Router*> router;
  HttpLimits limits;
  Keys keys;
  bool logs_requests = false;
  std::atomic<std::uint64_t> n_connections{0}, n_open{0}, n_requests{0}, n_refused{0};
  std::atomic<bool> is_stopping{false};
};

// One of the connections that may be open; a WebSocket takes it over from its connection.
class OpenPlace {
 public:
  explicit OpenPlace(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {
    ++shared_->n_open;
  }
  OpenPlace(const OpenPlace&) = delete;
  OpenPlace& operator=(const OpenPlace&) = delete;
  ~OpenPlace() { --shared_->n_open; }

 private:
  std::shared_ptr<Shared> shared_;
};

inline const char* reason_of(int status) {
  return http::obsolete_reason(static_cast<http::status>(status)).data();
}

inline std::string head_of(int status, std::string_view type, const Reply::Headers& headers,
                           bool keeps_alive) {
  std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nConnection: {}\r\nX-Content-Type-Options: nosniff\r\n",
      status, reason_of(status), type, keeps_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : headers) head += fmt::format("{}: {}\r\n", name, value);
  return head;
}

// One connection: requests one after another, each with its reply. All but Reply's functions run
// in the connection's strand.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Transport transport, std::shared_ptr<Shared> shared)
      : transport_(std::move(transport)),
        shared_(std::move(shared)),
        place_(std::make_shared<OpenPlace>(shared_)),
        deadline_(transport_.get_executor()),
        ping_(transport_.get_executor()) {
    error_code ignored;
    remote_ = transport_.socket().remote_endpoint(ignored);
  }

  void start();
  void read_request();

 private:
  // The reply to the request number `number_`; later ones are not its business.
  class ConnectionReply final : public Reply {
   public:
    ConnectionReply(std::shared_ptr<Connection> connection, std::uint64_t number)
        : connection_(std::move(connection)), number_(number) {}
    ~ConnectionReply() override {
      post([number = number_](Connection& c) { c.forgotten(number); });
    }
    void send(int status, std::string_view type, std::string body, Headers headers) override {
      post([number = number_, status, type = std::string(type), body = std::move(body),
            headers = std::move(headers)](Connection& c) mutable {
        if (c.is_current(number)) c.send_whole(status, type, std::move(body), std::move(headers));
      });
    }
    void begin(std::string_view type, std::string ping) override {
      post([number = number_, type = std::string(type),
            ping = std::move(ping)](Connection& c) mutable {
        if (c.is_current(number)) c.begin_pieces(type, std::move(ping));
      });
    }
    void write(std::string piece) override {
      connection_->n_waiting_ += piece.size();
      post([number = number_, piece = std::move(piece)](Connection& c) {
        c.n_waiting_ -= piece.size();
        if (c.is_current(number)) c.send_piece(piece);
      });
    }
    bool has_room() const override { return connection_->has_room(); }
    void when_room(std::function<void()> call) override {
      post([number = number_, call = std::move(call)](Connection& c) mutable {
        if (!c.is_current(number)) return;
        if (c.has_room()) return call();
        c.when_room_ = std::move(call);
      });
    }
    void end() override {
      post([number = number_](Connection& c) {
        if (c.is_current(number)) c.end_pieces();
      });
    }
    void on_gone(std::function<void()> gone) override {
      post([number = number_, gone = std::move(gone)](Connection& c) mutable {
        if (c.is_current(number) && !c.is_closed_)
          c.gone_ = std::move(gone);
        else if (c.is_closed_ && number == c.number_)
          gone();
      });
    }

   private:
    template <typename Work>
    void post(Work work) {
      asio::post(
          connection_->transport_.get_executor(),
          [connection = connection_, work = std::move(work)]() mutable { work(*connection); });
    }
    std::shared_ptr<Connection> connection_;
    std::uint64_t number_;
  };

  using Parser = http::request_parser<http::string_body>;

  void begin_request();
  void log();
  void got_header(error_code error);
  void read_body();
  void got_request(error_code error);
  void dispatch();
  bool upgrade(Request& request);
  void refuse(int status, const std::string& code, const std::string& message);
  bool has_room() const { return n_waiting_ < shared_->limits.paced_bytes; }
  bool is_current(std::uint64_t number) const {
    return number == number_ && !is_done_ && !is_closed_;
  }
  void forgotten(std::uint64_t number);
  void send_whole(int status, std::string_view type, std::string body, Reply::Headers headers);
  void begin_pieces(std::string_view type, std::string ping);
  void send_piece(const std::string& piece);
  void end_pieces();
  void queue(std::string bytes);
  void write_next();
  void wrote(error_code error);
  void reply_done();
  void linger();
  void watch();
  void half_closed();
  void arm_probe(std::chrono::seconds after);
  void arm_ping();
  void arm_deadline(std::chrono::seconds after);
  void close();

  Transport transport_;
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<OpenPlace> place_;
  asio::steady_timer deadline_;
  asio::steady_timer ping_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::uint64_t number_ = 0;  // of the request at hand
  bool is_head_ = false;
  bool keeps_alive_ = true;
  bool is_chunked_ = false;
  bool is_in_pieces_ = false;
  bool is_done_ = true;  // the reply is complete, though perhaps not sent
  bool is_watching_ = false;
  bool is_half_closed_ = false;  // the client sends no more, and perhaps reads
  bool is_unread_ = false;       // a part of what it sent
  std::size_t n_discarded_ = 0;  // bytes
  bool is_closed_ = false;
  bool is_writing_ = false;
  bool has_written_ = false;  // since the last ping was due
  std::string ping_text_;
  tcp::endpoint remote_;
  RequestLine line_;  // of the request at hand, where requests are logged
  std::chrono::steady_clock::time_point began_;
  bool is_logged_ = true;
  int status_ = 0;
  std::size_t n_sent_ = 0;  // bytes of its reply
  std::function<void()> gone_;
  std::function<void()> when_room_;
  std::deque<std::string> unsent_;
  std::size_t unsent_bytes_ = 0;
  std::atomic<std::size_t> n_waiting_ = 0;  // bytes, those that are on their way here among them
};

inline void Connection::start() {
  if (transport_.is_tls()) {
    arm_deadline(shared_->limits.request);
    transport_.handshake(Done([self = shared_from_this()](error_code error) {
      error ? self->close() : self->read_request();
    }));
  } else {
    asio::post(transport_.get_executor(), [self = shared_from_this()] { self->read_request(); });
  }
}

inline void Connection::read_request() {
  parser_.emplace();
  parser_->body_limit(shared_->limits.body_bytes);
  parser_->header_limit(static_cast<std::uint32_t>(shared_->limits.header_bytes));
  const bool is_begun = buffer_.size() > 0 || number_ == 0;
  arm_deadline(is_begun ? shared_->limits.request : shared_->limits.idle);
  http::async_read_header(
      transport_, buffer_, *parser_,
      [self = shared_from_this()](error_code error, std::size_t) { self->got_header(error); });
}

// A client with a long body may ask first whether it is welcome.
inline void Connection::got_header(error_code error) {
  if (is_closed_) return;
  if (error) return got_request(error);
  const auto& message = parser_->get();
  const bool asks = beast::iequals(message[http::field::expect], "100-continue");
  if (!asks || message.version() < 11 || parser_->is_done()) return read_body();
  asio::async_write(transport_, asio::buffer(kContinue),
                    [self = shared_from_this()](error_code failure, std::size_t) {
                      failure ? self->close() : self->read_body();
                    });
}

inline void Connection::read_body() {
  if (is_closed_) return;
  http::async_read(
      transport_, buffer_, *parser_,
      [self = shared_from_this()](error_code error, std::size_t) { self->got_request(error); });
}

inline void Connection::got_request(error_code error) {
  if (is_closed_) return;
  deadline_.cancel();
  if (!error) return dispatch();
  const bool is_malformed =
      error.category() == http::make_error_code(http::error::bad_method).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message;
  if (!is_malformed) return close();
  begin_request();
  keeps_alive_ = false;
  is_unread_ = true;
  const HttpLimits& limits = shared_->limits;
  if (error == http::error::body_limit)
    return refuse(413, "body_too_large",
                  fmt::format("the body: want at most {} bytes", limits.body_bytes));
  if (error == http::error::header_limit)
    return refuse(431, "headers_too_large",
                  fmt::format("the headers: want at most {} bytes", limits.header_bytes));
  refuse(400, "bad_request", "not an HTTP request: " + error.message());
}

inline void Connection::refuse(int status, const std::string& code, const std::string& message) {
  ++shared_->n_refused;
  const Fault fault = {.status = status, .code = code, .message = message};
  send_whole(status, "application/json", error_body(fault), {});
}

inline void Connection::begin_request() {
  ++number_;
  is_done_ = false;
  is_in_pieces_ = false;
  gone_ = nullptr;
  when_room_ = nullptr;
  status_ = 0;
  n_sent_ = 0;
  is_logged_ = !shared_->logs_requests;
  if (is_logged_) return;
  const auto& message = parser_->get();
  const beast::string_view target = message.target();
  line_ = {.method = std::string(message.method_string()),
           .path = std::string(target.substr(0, target.find('?')))};
  began_ = std::chrono::steady_clock::now();
}

// When all was sent, or nothing more can be.
inline void Connection::log() {
  if (std::exchange(is_logged_, true)) return;
  error_code ignored;
  line_.client = remote_.address().to_string(ignored);
  line_.status = status_;
  line_.n_bytes = n_sent_;
  line_.took = std::chrono::steady_clock::now() - began_;
  line_.is_cut = is_closed_;
  log_request(line_);
}

inline void Connection::dispatch() {
  begin_request();
  ++shared_->n_requests;
  auto& message = parser_->get();
  Request request;
  request.method = std::string(message.method_string());
  is_head_ = request.method == "HEAD";
  if (is_head_) request.method = "GET";
  keeps_alive_ = message.keep_alive();
  is_chunked_ = message.version() >= 11;
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    request.headers[name] = std::string(field.value());
  }
  const bool is_path = split_target({message.target().data(), message.target().size()}, request);
  if (!is_path) return refuse(400, "bad_request", "the path cannot be decoded");
  if (!shared_->keys.admit(request) && shared_->router.load()->needs_key(request)) {
    return refuse(401, "invalid_api_key",
                  "want a key of this server: Authorization: Bearer KEY, or X-Api-Key: KEY");
  }
  if (upgrade(request)) return;
  request.body = std::move(message.body());
  watch();
  const auto reply = std::make_shared<ConnectionReply>(shared_from_this(), number_);
  shared_->router.load()->handle(request, reply);
}

inline bool Connection::upgrade(Request& request) {
  const SocketRoute* const route = shared_->router.load()->socket(request.path);
  if (route == nullptr || !is_websocket_upgrade(parser_->get())) return false;
  status_ = 101;
  log();
  is_closed_ = true;  // the socket is somebody else's now
  accept_websocket(std::move(transport_), parser_->release(), *route, request, shared_->limits,
                   std::move(place_));
  return true;
}

// Somebody let the reply go without an answer.
inline void Connection::forgotten(std::uint64_t number) {
  if (!is_current(number)) return;
  if (is_in_pieces_) return end_pieces();
  send_whole(500, "application/json",
             error_body({.status = 500, .message = "the request was given up"}), {});
}

inline void Connection::send_whole(int status, std::string_view type, std::string body,
                                   Reply::Headers headers) {
  if (shared_->is_stopping) keeps_alive_ = false;
  status_ = status;
  headers.emplace_back("Content-Length", std::to_string(body.size()));
  std::string bytes = head_of(status, type, headers, keeps_alive_) + "\r\n";
  if (!is_head_) bytes += body;
  is_done_ = true;
  queue(std::move(bytes));
}

inline void Connection::begin_pieces(std::string_view type, std::string ping) {
  is_in_pieces_ = true;
  status_ = 200;
  if (!is_chunked_) keeps_alive_ = false;
  Reply::Headers headers = {{"Cache-Control", "no-cache"}};
  if (is_chunked_) headers.emplace_back("Transfer-Encoding", "chunked");
  ping_text_ = std::move(ping);
  queue(head_of(200, type, headers, keeps_alive_) + "\r\n");
  if (!ping_text_.empty()) arm_ping();
}

inline void Connection::send_piece(const std::string& piece) {
  if (piece.empty() || is_head_) return;
  has_written_ = true;
  queue(is_chunked_ ? fmt::format("{:x}\r\n{}\r\n", piece.size(), piece) : piece);
}

inline void Connection::end_pieces() {
  is_done_ = true;
  ping_.cancel();
  queue(is_chunked_ && !is_head_ ? "0\r\n\r\n" : "");
}

inline void Connection::queue(std::string bytes) {
  unsent_bytes_ += bytes.size();
  n_waiting_ += bytes.size();
  unsent_.push_back(std::move(bytes));
  if (is_in_pieces_ && unsent_bytes_ > shared_->limits.unsent_bytes) return close();
  if (!is_writing_) write_next();
}

inline void Connection::write_next() {
  is_writing_ = true;
  arm_deadline(shared_->limits.request);
  asio::async_write(
      transport_, asio::buffer(unsent_.front()),
      [self = shared_from_this()](error_code error, std::size_t) { self->wrote(error); });
}

inline void Connection::wrote(error_code error) {
  is_writing_ = false;
  if (is_closed_) return;
  deadline_.cancel();
  if (error) return close();
  unsent_bytes_ -= unsent_.front().size();
  n_sent_ += unsent_.front().size();
  n_waiting_ -= unsent_.front().size();
  unsent_.pop_front();
  if (when_room_ && has_room()) std::exchange(when_room_, nullptr)();
  if (!unsent_.empty()) return write_next();
  if (is_done_) reply_done();
}

inline void Connection::reply_done() {
  gone_ = nullptr;
  log();
  if (is_unread_) return linger();
  if (!keeps_alive_) return close();
  if (is_watching_) return arm_deadline(shared_->limits.idle);  // the next request wakes it
  read_request();
}

// A socket that is closed while its client still sends takes away what the client has not read.
inline void Connection::linger() {
  constexpr std::size_t kPiece = 16384;  // bytes
  if (n_discarded_ == 0) {
    error_code ignored;
    if (!transport_.is_tls()) transport_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    arm_deadline(shared_->limits.linger);
  }
  buffer_.clear();
  transport_.async_read_some(buffer_.prepare(kPiece),
                             [self = shared_from_this()](error_code error, std::size_t n) {
                               self->n_discarded_ += n;
                               const auto most = self->shared_->limits.linger_bytes;
                               if (error || self->n_discarded_ > most) return self->close();
                               if (!self->is_closed_) self->linger();
                             });
}

// While a request is answered: does the client stay? What it sends meanwhile is the next request.
inline void Connection::watch() {
  if (buffer_.size() > 0) return;
  is_watching_ = true;
  transport_.async_read_some(buffer_.prepare(4096),
                             [self = shared_from_this()](error_code error, std::size_t n) {
                               self->is_watching_ = false;
                               if (self->is_closed_) return;
                               if (error == asio::error::eof) return self->half_closed();
                               if (error) return self->close();
                               self->buffer_.commit(n);
                               if (self->is_done_ && !self->is_writing_) self->read_request();
                             });
}

// The client sends no more. It may have left, or have closed its side only and wait for the answer:
// who has left refuses what is sent to him. TLS has no half of a connection.
inline void Connection::half_closed() {
  is_half_closed_ = true;
  keeps_alive_ = false;
  const bool is_answered = is_done_ && !is_writing_;
  if (is_answered || transport_.is_tls()) return close();
  transport_.socket().async_wait(tcp::socket::wait_error,
                                 [self = shared_from_this()](error_code) { self->close(); });
  if (is_chunked_ && !is_in_pieces_) arm_probe(kFirstProbe);
}

// While there is nothing else to send, what every client of HTTP/1.1 passes over (RFC 9110, 15.2);
// more and more seldom, since some give up after a handful.
inline void Connection::arm_probe(std::chrono::seconds after) {
  ping_.expires_after(after);
  ping_.async_wait([self = shared_from_this(), number = number_, after](error_code error) {
    if (error || !self->is_current(number) || self->is_in_pieces_) return;
    self->queue(std::string(kContinue));
    self->arm_probe(std::max(kNextProbe, 2 * after));
  });
}

inline void Connection::arm_ping() {
  has_written_ = false;
  ping_.expires_after(shared_->limits.ping);
  ping_.async_wait([self = shared_from_this(), number = number_](error_code error) {
    if (error || !self->is_current(number)) return;
    if (!self->has_written_) self->send_piece(self->ping_text_);
    self->arm_ping();
  });
}

inline void Connection::arm_deadline(std::chrono::seconds after) {
  deadline_.expires_after(after);
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->deadline_.expiry() <= std::chrono::steady_clock::now()) self->close();
  });
}

inline void Connection::close() {
  if (is_closed_) return;
  is_closed_ = true;
  deadline_.cancel();
  ping_.cancel();
  error_code ignored;
  transport_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  transport_.socket().close(ignored);
  when_room_ = nullptr;
  log();
  if (gone_ && !is_done_) std::exchange(gone_, nullptr)();
}

}  // namespace runnel::serve
