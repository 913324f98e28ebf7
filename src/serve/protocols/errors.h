// What went wrong with a request, as OpenAI's API words it.
#pragma once

#include <functional>
#include <string>

#include "runnel/error.h"
#include "serve/protocols/exchange.h"

namespace runnel::serve {

struct Fault {
  int status = 400;
  std::string type = "";   // empty: what goes with the status
  std::string code = "";   // may stay empty
  std::string param = "";  // the field of the request; may stay empty
  std::string message;
  Reply::Headers headers = {};
};

class RequestError : public Error {
 public:
  explicit RequestError(Fault what) : Error(what.message), fault(std::move(what)) {}
  Fault fault;
};

// The usual ones.
[[noreturn]] void refuse(const std::string& param, const std::string& message);
[[noreturn]] void refuse_missing(const std::string& kind, const std::string& id);

// Where another server has the stream and does not let it go.
Fault stream_elsewhere();

// {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
std::string error_body(const Fault& fault);
using ErrorBody = std::string (*)(const Fault&);  // other protocols have others

std::string error_type(const Fault& fault);  // the given one, or what goes with the status
Fault fault_of(const std::exception& error);
void send_error(const ReplyPtr& reply, const Fault& fault, ErrorBody body = error_body);
// Does the work; what it throws becomes the reply.
void answer_errors(const ReplyPtr& reply, const std::function<void()>& work,
                   ErrorBody body = error_body);

}  // namespace runnel::serve
