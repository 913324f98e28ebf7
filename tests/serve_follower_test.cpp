// A client that reads slowly gets every event all the same, and little of them waits in memory.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "serve/http/server.h"
#include "serve/protocols/follower.h"

namespace runnel::serve {
namespace {

std::string event_text(std::int64_t number) {
  return "event " + std::to_string(number) + std::string(500, '.') + "\n";
}

// Has room for so many pieces; the rest waits until it is emptied.
class SmallOutlet final : public Outlet {
 public:
  void write(std::string piece) override {
    pieces.push_back(std::move(piece));
    most = std::max(most, ++n_waiting);
  }
  bool has_room() const override { return n_waiting < 10; }
  void when_room(std::function<void()> call) override { waiting = std::move(call); }
  void empty() {
    n_waiting = 0;
    if (waiting) std::exchange(waiting, nullptr)();
  }

  std::vector<std::string> pieces;
  std::function<void()> waiting;
  int n_waiting = 0, most = 0;
};

TEST(Follower, TellsEveryEventOnceAtThePaceOfTheClient) {
  Store store({});
  LiveResponse live(store, "r", true);
  for (int i = 0; i < 500; ++i) live.add(event_text(i));
  const auto outlet = std::make_shared<SmallOutlet>();
  int n_ends = 0;
  const auto follower = std::make_shared<Follower>(
      store, outlet,
      Follower::Options{.response = "r",
                        .first = 100,
                        .piece = [](const std::string& event) { return event; },
                        .end = [&] { ++n_ends; }});
  follower->begin(&live);
  for (int i = 500; i < 1000; ++i) {
    live.add(event_text(i));
    if (i % 3 == 0) outlet->empty();  // sometimes it keeps up, sometimes not
  }
  live.end();
  while (outlet->waiting) outlet->empty();
  EXPECT_EQ(n_ends, 1);
  ASSERT_EQ(outlet->pieces.size(), 900u);
  for (std::size_t i = 0; i < 900; ++i)
    EXPECT_EQ(outlet->pieces[i], event_text(static_cast<std::int64_t>(i) + 100));
  EXPECT_LT(outlet->most, 100);
}

TEST(Follower, TellsWhatAResponseThatHasEndedWas) {
  Store store({});
  for (int i = 0; i < 200; ++i) store.add_event("r", i, event_text(i));
  const auto outlet = std::make_shared<SmallOutlet>();
  int n_ends = 0;
  std::make_shared<Follower>(
      store, outlet,
      Follower::Options{.response = "r",
                        .piece = [](const std::string& event) { return event; },
                        .end = [&] { ++n_ends; }})
      ->begin(nullptr);
  EXPECT_EQ(n_ends, 0);
  while (outlet->waiting) outlet->empty();
  EXPECT_EQ(n_ends, 1);
  EXPECT_EQ(outlet->pieces.size(), 200u);
}

// All that a server on this port says to a request, read after a while.
std::string slowly_read(std::uint16_t port, const std::string& request) {
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::send(client, request.data(), request.size(), 0),
            static_cast<ssize_t>(request.size()));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  std::string all;
  std::vector<char> bytes(1 << 16);
  for (ssize_t n = 0; (n = ::recv(client, bytes.data(), bytes.size(), 0)) > 0;)
    all.append(bytes.data(), static_cast<std::size_t>(n));
  ::close(client);
  return all;
}

TEST(HttpServer, SendsASlowClientMoreThanItKeepsInMemory) {
  constexpr int kEvents = 40000;  // 20 MB, where a connection keeps 8 MiB at most
  Store store({});
  for (int i = 0; i < kEvents; ++i) store.add_event("r", i, event_text(i));
  Router router;
  router.add({{"GET", "/events", [&store](const Request&, const ReplyPtr& reply) {
                 reply->begin("text/plain", "");
                 std::make_shared<Follower>(
                     store, reply,
                     Follower::Options{.response = "r",
                                       .piece = [](const std::string& event) { return event; },
                                       .end = [reply] { reply->end(); }})
                     ->begin(nullptr);
               }}});
  HttpServer server({.port = 0}, router);
  server.start();
  const std::string all = slowly_read(server.port(), "GET /events HTTP/1.0\r\n\r\n");
  server.stop();
  EXPECT_NE(all.find(event_text(0)), std::string::npos);
  EXPECT_NE(all.find(event_text(kEvents - 1)), std::string::npos);
  EXPECT_EQ(std::count(all.begin() + static_cast<std::ptrdiff_t>(all.find("\r\n\r\n")) + 4,
                       all.end(), '\n'),
            kEvents);
}

TEST(HttpServer, RefusesWhileItIsNotReady) {
  Router loading, router;
  const auto ok = [](const Request&, const ReplyPtr& reply) {
    reply->send(200, "text/plain", "ok");
  };
  loading.add({{"GET", "/health", ok}, {"GET", "/ready", ok}});
  loading.refuse_all("the model is being loaded");
  router.add({{"GET", "/health", ok}, {"GET", "/ready", ok}});
  HttpServer server({.port = 0}, loading);
  server.start();
  const auto status = [&](const std::string& path) {
    return slowly_read(server.port(), "GET " + path + " HTTP/1.0\r\n\r\n").substr(9, 3);
  };
  EXPECT_EQ(status("/health"), "200");
  EXPECT_EQ(status("/ready"), "503");
  server.use(router);
  EXPECT_EQ(status("/ready"), "200");
  router.refuse_all("the server is stopping");
  EXPECT_EQ(status("/health"), "200");
  EXPECT_EQ(status("/ready"), "503");
  server.stop();
}

}  // namespace
}  // namespace runnel::serve
