// What the protocols translate to: the streams and what was said on them.
#pragma once

#include <string>
#include <vector>

#include "runnel/runnel.h"
#include "serve/hub/hub.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/exchange.h"
#include "serve/scheduler/scheduler.h"
#include "serve/store/store.h"

namespace runnel::serve {

class Responses;

struct Services {
  const Model& model;
  Scheduler& scheduler;
  Hub& hub;  // on the scheduler's thread only, but for model(), chat() and options()
  Store& store;
  Store& passing;  // in memory: responses that are not to be kept, until no retry can come for them
  Responses& responses;
  std::string model_id;  // as clients name it
  // Whether a client means this model: by its id, or by the title in its file.
  bool is_model(const std::string& name) const { return name == model_id || name == model.name(); }
  std::int64_t started = 0;
  // Calls back, from any thread, with the SHA-256 of the model's file; with nothing where that is
  // not known soon.
  std::function<void(std::function<void(const std::string&)>)> model_digest;
  std::function<std::string()> http_metrics;  // what the protocols cannot know, for /metrics
  // Where several servers share streams: calls back when the streams of these conversations and
  // responses are here; with false where they cannot be had now. Empty: all that there is is here.
  std::function<void(const std::vector<std::string>& ids, std::function<void(bool)>)> bring;
  // And the conversations of all of them; from any thread. Empty: those of the store are all.
  std::function<std::vector<StoredConversation>(const Page&)> all_conversations;
};

// Does the work on the scheduler's thread, where streams may be touched; what it throws becomes the
// reply, as the protocol words it.
void on_streams(const Services& services, const ReplyPtr& reply, std::function<void()> work,
                ErrorBody body = error_body);

// On the scheduler's thread: goes on with the responses that the process before was writing, those
// on one stream where it is named.
void resume_responses(const Services& services, const std::string& stream = "");

// Each protocol is a list of routes.
std::vector<Route> model_routes(const Services& services);
std::vector<Route> chat_completion_routes(const Services& services);
std::vector<Route> completion_routes(const Services& services);
std::vector<Route> anthropic_routes(const Services& services);
std::vector<Route> ollama_routes(const Services& services);
std::vector<Route> conversation_routes(const Services& services);
std::vector<Route> response_routes(const Services& services);
SocketRoute response_socket(const Services& services);
std::vector<Route> stream_routes(const Services& services);        // what streams there are
std::vector<Route> operation_routes(const Services& services);     // health, readiness, metrics
void answer_alive(const Request& request, const ReplyPtr& reply);  // /health
std::vector<Route> openapi_routes();                               // what all of them are

}  // namespace runnel::serve
