// A response from its request to the answer on a stream; HTTP and WebSockets share it.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "serve/protocols/exchange.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

struct Asked;  // a request, read

// RequestError: what is wrong with it, or what there is not.
std::shared_ptr<const Asked> asked_of(const Services& services, const Request& request);
bool is_streamed(const Asked& asked);
bool is_background(const Asked& asked);
// The conversation, or the response, that the answer is to go on from.
std::vector<std::string> streams_asked(const Asked& asked);

// Where the response is: kept, or ("store": false) until no retry can come.
Store& store_of(const Services& services, const Asked& asked);

// Responses that are not kept, with which the connection that asked for them may go on.
using Held = std::set<std::string>;

// On the scheduler's thread. The id of the response: a new one, under way, or that to the same
// request before. Its events are those of Services::responses and of store_of(). RequestError;
// Busy.
std::string respond(const Services& services, const Asked& asked, Held* held = nullptr);

// On the scheduler's thread: the connection is gone.
void release(const Services& services, const Held& held);

// Ends the response where it stands, and begins another one with the same settings behind it, on
// the same stream, that reads `input`. `request` is that of the response. Returns the new one's id.
// RequestError: it is not being written any more, or the input is no good.
std::string steer(const Services& services, const std::string& response, const Request& request,
                  const std::string& input, Held* held = nullptr);

}  // namespace runnel::serve
