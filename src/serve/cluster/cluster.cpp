#include "serve/cluster/cluster.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "serve/log.h"
#include "serve/protocols/json_body.h"

namespace runnel::serve {
namespace {

constexpr std::chrono::seconds kLongestWait{30};  // of a request for its stream
constexpr std::chrono::milliseconds kTryAgain{50};

bool is_id(std::string_view text) { return text.starts_with("conv_") || text.starts_with("resp_"); }

void add_id(const Json& value, std::vector<std::string>& ids) {
  if (value.is_string() && is_id(value.get_ref<const std::string&>()))
    ids.push_back(value.get<std::string>());
}

}  // namespace

std::vector<std::string> Cluster::ids_of(const Request& request) {
  std::vector<std::string> ids;
  for (std::size_t at = 0; at < request.path.size();) {
    const std::size_t end = std::min(request.path.find('/', at), request.path.size());
    const std::string part = request.path.substr(at, end - at);
    if (is_id(part)) ids.push_back(part);
    at = end + 1;
  }
  if (request.body.find("\"conv_") == std::string::npos &&
      request.body.find("\"resp_") == std::string::npos)
    return ids;
  try {
    const Json body = parse_object(request.body);
    const Json conversation = body.value("conversation", Json());
    add_id(conversation.is_object() ? conversation.value("id", Json()) : conversation, ids);
    add_id(body.value("previous_response_id", Json()), ids);
  } catch (const Error&) {  // whoever answers the request will say so
  }
  return ids;
}

void Cluster::begin() {
  thread_ = std::thread([this] { loop(); });
}

void Cluster::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  has_work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::string Cluster::stream_of(const std::string& id) {
  if (id.starts_with("conv_")) return id;
  if (const auto row = services_.store.response(id)) return row->channel;
  return shared_.stream_of(id);
}

void Cluster::bring(const std::vector<std::string>& ids, std::function<void(bool)> then) {
  if (ids.empty()) return then(true);
  const std::vector<std::string> rest(ids.begin() + 1, ids.end());
  const std::string stream = stream_of(ids.front());
  if (stream.empty()) return bring(rest, std::move(then));  // there is no such response
  bring_one(stream, [this, rest, then = std::move(then)](bool is_here) {
    if (!is_here) return then(false);
    bring(rest, then);
  });
}

void Cluster::bring_one(const std::string& stream, std::function<void(bool)> then) {
  services_.scheduler.post([this, stream, then = std::move(then)] {
    if (services_.hub.find(stream) != nullptr) return then(true);
    {
      const std::lock_guard lock(mutex_);
      const bool is_arriving = arriving_.contains(stream);
      (is_arriving ? arriving_ : waiting_)[stream].push_back({then, Clock::now() + kLongestWait});
    }
    has_work_.notify_one();
  });
}

void Cluster::loop() {
  Clock::time_point next_renewal = Clock::now();
  for (;;) {
    std::vector<std::string> wanted;
    {
      std::unique_lock lock(mutex_);
      if (waiting_.empty()) {
        has_work_.wait_until(lock, next_renewal, [&] { return stopping_ || !waiting_.empty(); });
      } else {
        has_work_.wait_for(lock, kTryAgain, [&] { return stopping_; });
      }
      if (stopping_) return;
      for (const auto& [stream, all] : waiting_) wanted.push_back(stream);
    }
    try {
      for (const std::string& stream : wanted) try_to_claim(stream);
      if (Clock::now() < next_renewal) continue;
      next_renewal = Clock::now() + lease_ / 4;
      renew();
    } catch (const Error& error) {  // the connection; tried again
      log_warning(error.what());
      std::this_thread::sleep_for(kTryAgain);
    }
  }
}

void Cluster::try_to_claim(const std::string& stream) {
  switch (shared_.claim(stream)) {
    case SharedStreams::Claim::kMine:
      return take(stream);
    case SharedStreams::Claim::kUnknown:
      return answer(stream, true, Clock::time_point::max());  // which is found out by whoever asked
    case SharedStreams::Claim::kTaken:
      return answer(stream, false, Clock::now());
  }
}

// The stream's rows are all here before anybody may ask for it.
void Cluster::take(const std::string& stream) {
  const auto rows = std::make_shared<StreamRows>(shared_.rows(stream));
  {
    const std::lock_guard lock(mutex_);  // it is not claimed again
    for (Waiting& one : waiting_[stream]) arriving_[stream].push_back(std::move(one));
    waiting_.erase(stream);
  }
  services_.scheduler.post([this, stream, rows] {
    try {
      services_.store.take(stream, *rows);
      if (const auto row = services_.store.stream(stream)) services_.hub.adopt(*row);
      resume_responses(services_, stream);
    } catch (const std::exception& error) {
      log_warning(fmt::format("stream {}: not taken over: {}", stream, error.what()));
    }
    answer(stream, true, Clock::time_point::max());
  });
}

// Tells those who wait no longer than until then.
void Cluster::answer(const std::string& stream, bool is_here, Clock::time_point those_until) {
  std::vector<Waiting> told;
  {
    const std::lock_guard lock(mutex_);
    for (auto* const from : {&waiting_, &arriving_}) {
      const auto at = from->find(stream);
      if (at == from->end()) continue;
      std::vector<Waiting> stay;
      for (Waiting& one : at->second)
        (one.until <= those_until ? told : stay).push_back(std::move(one));
      at->second = std::move(stay);
      if (at->second.empty()) from->erase(at);
    }
  }
  for (const Waiting& one : told) one.then(is_here);
}

void Cluster::renew() {
  const SharedStreams::Renewal renewal = shared_.renew();
  if (renewal.lost.empty() && renewal.wanted.empty()) return;
  services_.scheduler.post([this, renewal] {
    for (const std::string& stream : renewal.lost) {
      log_warning(fmt::format("stream {}: another server has it now", stream));
      services_.hub.lose(stream);
      services_.store.forget(stream);
    }
    for (const std::string& stream : renewal.wanted) services_.hub.hand_over(stream);
  });
}

void Cluster::let_go(const std::string& stream) {
  services_.store.forget(stream);
  shared_.release(stream);
}

}  // namespace runnel::serve
