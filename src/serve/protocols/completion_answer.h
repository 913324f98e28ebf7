// What the stateless protocols share: a request that brings its whole history, continued on the
// stream that holds most of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "serve/protocols/completion_writer.h"
#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {

// The history: a dialogue, or tokens.
struct History {
  bool is_chat = false;
  Setting setting;
  std::vector<Message> messages;  // behind the system prompt
  std::vector<Token> tokens;      // where it is not a dialogue

  // Of a dialogue; its first system messages are the setting's.
  static History of(std::vector<Message> messages);
};

// On the stream that holds the history's beginning, or a new one. The answer is cancelled when the
// client leaves.
void answer_history(const Services& services, const ReplyPtr& reply, History history,
                    AnswerOptions options, std::shared_ptr<CompletionWriter> writer);

// Tokens that the whole history takes.
std::int64_t count_tokens(const Services& services, const History& history);

// max_tokens and its relatives, stop, logprobs, sampling; and refusals of what there is not.
AnswerOptions completion_options(const Services& services, const Json& body, bool is_streamed,
                                 const std::vector<const char*>& names_of_most_tokens);
Telling telling_of(const Services& services, const Json& body, const AnswerOptions& options,
                   bool is_streamed);
// Without a number of tokens: what an answer that comes whole may have.
void bound_unstreamed(AnswerOptions& options, bool is_streamed);
// "messages". RequestError: no list, or an empty one.
const Json& list_of_messages(const Json& body);
// The same as chat completions have them.
std::vector<Message> messages_of(const Json& body);

}  // namespace runnel::serve
