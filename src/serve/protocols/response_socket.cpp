// Responses over a WebSocket, as OpenAI's clients speak it: response.create, several at a time each
// on a lane of its own (stream_id), and response.steer. The same events as over HTTP.
#include <atomic>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "serve/hub/responses.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/follower.h"
#include "serve/protocols/items.h"
#include "serve/protocols/response_creation.h"

namespace runnel::serve {
namespace {

class ResponseSocket final : public SocketTalk,
                             public std::enable_shared_from_this<ResponseSocket> {
 public:
  ResponseSocket(const Services& services, Request opened, SocketSend send)
      : services_(services), opened_(std::move(opened)), send_(std::move(send)) {}

  void received(std::string message) override;
  void closed() override;

 private:
  struct Lane {
    std::string stream_id;  // empty: none was named
    Request request;        // of the response
    std::shared_ptr<LiveResponse> live;
    std::uint64_t listener = 0;
  };
  void create(const Json& message);
  void steer(const Json& message);
  void follow(Store& store, const std::string& id, Lane lane);
  void send(const std::string& stream_id, Json event);
  void fail(const std::string& stream_id, const std::exception& error);
  static std::string data_of(const std::string& event, const std::string& stream_id);

  const Services& services_;
  Request opened_;
  SocketSend send_;
  std::mutex mutex_;
  bool is_closed_ = false;
  std::map<std::string, Lane> lanes_;  // by id of the response
  Held held_;                          // on the scheduler's thread
};

void ResponseSocket::received(std::string message) {
  std::string stream_id;
  try {
    const Json json = parse_object(message);
    stream_id = text_field(json, "stream_id").value_or("");
    const std::string type = text_field(json, "type").value_or("");
    if (type == "response.create") return create(json);
    if (type == "response.steer") return steer(json);
    refuse("type", "type: want response.create or response.steer, found \"" + type + "\"");
  } catch (const std::exception& error) {
    fail(stream_id, error);
  }
}

void ResponseSocket::create(const Json& message) {
  Json body = message;
  Lane lane = {.stream_id = text_field(message, "stream_id").value_or("")};
  body.erase("type");
  body.erase("stream_id");
  body["stream"] = true;
  lane.request = {.headers = opened_.headers, .body = dump(body)};
  const std::shared_ptr<const Asked> asked = asked_of(services_, lane.request);
  const auto respond_now = [self = shared_from_this(), asked,
                            lane = std::move(lane)](bool is_here) {
    self->services_.scheduler.post([self, asked, lane, is_here] {
      try {
        if (!is_here) throw RequestError(stream_elsewhere());
        const std::string id = respond(self->services_, *asked, &self->held_);
        self->follow(store_of(self->services_, *asked), id, lane);
      } catch (const std::exception& error) {
        self->fail(lane.stream_id, error);
      }
    });
  };
  if (!services_.bring) return respond_now(true);
  services_.bring(streams_asked(*asked), respond_now);
}

void ResponseSocket::steer(const Json& message) {
  const std::string response = text_field(message, "previous_response_id").value_or("");
  const Json input = message.value("input", Json());
  services_.scheduler.post([self = shared_from_this(), response, input] {
    Lane lane;
    try {
      {
        const std::lock_guard lock(self->mutex_);
        const auto at = self->lanes_.find(response);
        if (at == self->lanes_.end())
          throw RequestError({.code = "response_not_found",
                              .message = "no such response on this connection: " + response});
        lane = {.stream_id = at->second.stream_id, .request = at->second.request};
      }
      const std::string next =
          serve::steer(self->services_, response, lane.request, dump(input), &self->held_);
      self->send(lane.stream_id,
                 {{"type", "response.steer.accepted"},
                  {"sequence_number", 0},
                  {"steer", {{"id", random_id("steer_")}, {"previous_response_id", response}}}});
      self->follow(self->services_.responses.find(next)->store(), next, lane);
    } catch (const std::exception& error) {
      const Fault fault = fault_of(error);
      self->send(lane.stream_id, {{"type", "response.steer.failed"},
                                  {"sequence_number", 0},
                                  {"steer", {{"previous_response_id", response}, {"input", input}}},
                                  {"error",
                                   {{"type", "invalid_request_error"},
                                    {"code", fault.code.empty() ? "invalid_input" : fault.code},
                                    {"message", fault.message}}}});
    }
  });
}

// Passes the response's events on, while the connection lives.
void ResponseSocket::follow(Store& store, const std::string& id, Lane lane) {
  const std::string stream_id = lane.stream_id;
  lane.live = services_.responses.find(id);
  const std::weak_ptr<ResponseSocket> weak = weak_from_this();
  if (lane.live != nullptr) {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return;
    lanes_[id] = lane;
  }
  const auto forget = [weak, id] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    const std::lock_guard lock(self->mutex_);
    self->lanes_.erase(id);
  };
  const auto follower = std::make_shared<Follower>(
      store, send_,
      Follower::Options{
          .response = id,
          .piece = [stream_id](const std::string& event) { return data_of(event, stream_id); },
          .end = forget});
  const std::uint64_t listener = follower->begin(lane.live.get());
  const std::lock_guard lock(mutex_);
  if (const auto at = lanes_.find(id); at != lanes_.end()) at->second.listener = listener;
}

void ResponseSocket::closed() {
  std::map<std::string, Lane> lanes;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    lanes.swap(lanes_);
  }
  for (const auto& [id, lane] : lanes) lane.live->stop_listening(lane.listener);
  services_.scheduler.post([self = shared_from_this()] { release(self->services_, self->held_); });
}

void ResponseSocket::send(const std::string& stream_id, Json event) {
  if (!stream_id.empty()) event["stream_id"] = stream_id;
  send_->write(dump(event));
}

void ResponseSocket::fail(const std::string& stream_id, const std::exception& error) {
  const Fault fault = fault_of(error);
  send(stream_id, {{"type", "error"},
                   {"status", fault.status},
                   {"sequence_number", 0},
                   {"error", Json::parse(error_body(fault)).at("error")}});
}

// The JSON of a server's event, with the lane in it.
std::string ResponseSocket::data_of(const std::string& event, const std::string& stream_id) {
  const std::size_t begin = event.find("data: ") + 6;
  std::string data = event.substr(begin, event.size() - begin - 2);
  if (!stream_id.empty()) data.insert(1, "\"stream_id\":" + dump(stream_id) + ",");
  return data;
}

}  // namespace

SocketRoute response_socket(const Services& services) {
  return {"/v1/responses", [&services](const Request& request, SocketSend send) {
            return std::make_shared<ResponseSocket>(services, request, std::move(send));
          }};
}

}  // namespace runnel::serve
