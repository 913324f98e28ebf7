// A connection's bytes, over TCP or TLS on it. Boost's operations are templates over the stream and
// the handler of each, and slow to compile: over this stream they are made once, and what reads and
// writes (transport_io.inl) is made for one type of handler. Included by the files that know Boost.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel::serve {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using TlsStream = asio::ssl::stream<tcp::socket>;

// Any handler of an operation, called once.
template <typename... Results>
class Completion {
 public:
  template <typename Handler>
  requires(!std::is_same_v<Handler, Completion>) explicit Completion(Handler handler)
      : held_(new Holding<Handler>(std::move(handler))) {}
  void operator()(Results... results) { std::exchange(held_, nullptr)->call(results...); }

 private:
  struct Held {
    virtual ~Held() = default;
    virtual void call(Results... results) = 0;
  };
  template <typename Handler>
  struct Holding final : Held {
    explicit Holding(Handler given) : handler(std::move(given)) {}
    void call(Results... results) override { handler(results...); }
    Handler handler;
  };
  std::unique_ptr<Held> held_;
};
using IoDone = Completion<error_code, std::size_t>;
using Done = Completion<error_code>;

// The first parts of a message in memory, as many as the system takes at a time.
template <typename Buffer>
class Buffers {
 public:
  template <typename Sequence>
  explicit Buffers(const Sequence& all) {
    const auto end = asio::buffer_sequence_end(all);
    for (auto at = asio::buffer_sequence_begin(all); at != end && n_ < parts_.size(); ++at) {
      const Buffer part = *at;
      if (part.size() > 0) parts_[n_++] = part;
    }
  }
  const Buffer* begin() const { return parts_.data(); }
  const Buffer* end() const { return parts_.data() + n_; }

 private:
  std::array<Buffer, 16> parts_;
  std::size_t n_ = 0;
};
using RoomToRead = Buffers<asio::mutable_buffer>;
using BytesToWrite = Buffers<asio::const_buffer>;

// An asynchronous stream as Boost wants one. Handlers run in the socket's executor.
class Transport {
 public:
  using executor_type = tcp::socket::executor_type;

  explicit Transport(tcp::socket socket) : stream_(std::move(socket)) {}
  explicit Transport(TlsStream stream) : stream_(std::move(stream)) {}

  bool is_tls() const { return std::holds_alternative<TlsStream>(stream_); }
  tcp::socket& socket();
  executor_type get_executor() { return socket().get_executor(); }

  template <typename Sequence, typename Token>
  auto async_read_some(const Sequence& room, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [this](auto handler, RoomToRead parts) { read_some(parts, IoDone(std::move(handler))); },
        token, RoomToRead(room));
  }
  template <typename Sequence, typename Token>
  auto async_write_some(const Sequence& bytes, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [this](auto handler, BytesToWrite parts) { write_some(parts, IoDone(std::move(handler))); },
        token, BytesToWrite(bytes));
  }
  void handshake(Done done);  // where it is TLS
  // The end of a WebSocket; says goodbye over TLS.
  void teardown(Done done);

 private:
  void read_some(const RoomToRead& room, IoDone done);
  void write_some(const BytesToWrite& bytes, IoDone done);

  std::variant<tcp::socket, TlsStream> stream_;
};

// Boost looks for this beside a stream of somebody else's.
inline void beast_close_socket(Transport& transport) {
  error_code ignored;
  transport.socket().close(ignored);
}
}  // namespace runnel::serve
