// How a transport reads and writes. Included by server.cpp alone.
#pragma once

#include <utility>
#include <variant>

#include "serve/http/transport.inl"

namespace runnel::serve {

tcp::socket& Transport::socket() {
  if (TlsStream* const tls = std::get_if<TlsStream>(&stream_)) return tls->next_layer();
  return std::get<tcp::socket>(stream_);
}

void Transport::read_some(const RoomToRead& room, IoDone done) {
  std::visit([&](auto& stream) { stream.async_read_some(room, std::move(done)); }, stream_);
}

void Transport::write_some(const BytesToWrite& bytes, IoDone done) {
  std::visit([&](auto& stream) { stream.async_write_some(bytes, std::move(done)); }, stream_);
}

void Transport::handshake(Done done) {
  std::get<TlsStream>(stream_).async_handshake(asio::ssl::stream_base::server, std::move(done));
}

}  // namespace runnel::serve
