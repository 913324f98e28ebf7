#include "serve/protocols/completion_answer.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kMostUnstreamed = 4096;  // tokens of an answer that comes whole

}  // namespace

History History::of(const Dialogues& chat, std::vector<Message> messages) {
  std::string system;
  std::size_t n = 0;
  for (; n < messages.size(); ++n) {
    if (messages[n].role != "system" && messages[n].role != "developer") break;
    system += (system.empty() ? "" : "\n\n") + messages[n].text;
  }
  messages.erase(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(n));
  DialogueState state = system.empty() ? DialogueState::kFresh : DialogueState::kAfterSystem;
  History history;
  history.pinned = flagged(chat.opening(system));
  history.chat = history.pinned + flagged(chat.turns(messages, state, true));
  return history;
}

void CompletionWriter::began(std::int64_t, std::int64_t, std::uint64_t, const Place& place) {
  is_begun_ = true;
  if (!is_streamed_) return;
  reply_->begin("text/event-stream", ": reading\n\n");
  for (Json& first : first_pieces()) send(std::move(first), place);
}

void CompletionWriter::wrote(const Written& written, const Place& place) {
  if (is_streamed_) return send(piece(written), place);
  text_ += written.text;
  tokens_.insert(tokens_.end(), written.tokens.begin(), written.tokens.end());
}

void CompletionWriter::evicted(std::int64_t from, std::int64_t to, const Place&) {
  if (evicted_from_ < 0) evicted_from_ = from;
  evicted_to_ = to;
}

void CompletionWriter::ended(const Ending& ending, const Place& place) {
  if (ending.finish == Finish::kFailed) {
    const Fault fault = {.status = 500, .message = ending.why};
    if (!is_streamed_ || !is_begun_) return send_error(reply_, fault);
    reply_->write("data: " + error_body(fault) + "\n\n");
    return reply_->end();
  }
  if (!is_streamed_) {
    Json body = whole(text_, tokens_, ending);
    body["runnel"] = told(place);
    return reply_->send(200, "application/json", dump(body));
  }
  for (Json& last : last_pieces(ending)) send(std::move(last), place);
  reply_->write("data: [DONE]\n\n");
  reply_->end();
}

void CompletionWriter::send(Json piece, const Place& place) {
  piece["runnel"] = told(place);
  evicted_from_ = evicted_to_ = -1;
  reply_->write(server_event("", piece));
}

Json CompletionWriter::told(const Place& place) const {
  Json json = place_json(place);
  if (evicted_from_ >= 0) json["evicted_now"] = {evicted_from_, evicted_to_};
  return json;
}

Json CompletionWriter::usage(const Ending& ending) const {
  const std::int64_t n_prompt = ending.n_cached + ending.n_read;
  return {{"prompt_tokens", n_prompt},
          {"completion_tokens", ending.n_written},
          {"total_tokens", n_prompt + ending.n_written},
          {"prompt_tokens_details", {{"cached_tokens", is_continued ? ending.n_cached : 0}}}};
}

const char* finish_reason(const Ending& ending) {
  return ending.finish == Finish::kLength || ending.finish == Finish::kCancelled ? "length"
                                                                                 : "stop";
}

void answer_history(const Services& services, const ReplyPtr& reply, History history,
                    AnswerOptions options, std::shared_ptr<CompletionWriter> writer) {
  const Dialogues& chat = services.hub.chat();
  if (!history.chat.empty()) {
    options.stops.insert(options.stops.end(), chat.stops().begin(), chat.stops().end());
  }
  const std::vector<Token> pinned =
      history.pinned.empty() ? std::vector<Token>() : chat.encode(unflagged(history.pinned), true);
  const auto shared = std::make_shared<History>(std::move(history));
  on_streams(services, reply, [=, &services, options = std::move(options)] {
    Hub& hub = services.hub;
    Channel* channel = hub.holding(shared->chat, shared->tokens);
    writer->is_continued = channel != nullptr;
    if (channel == nullptr) {
      channel = &hub.open(Channel::Kind::kCompletion, random_id("stream_"), pinned);
      channel->is_chat = !shared->chat.empty();
      channel->text = shared->pinned;
    }
    ++channel->n_turns;
    const auto prepare = [shared, channel, &hub]() -> Channel::Reading {
      const bool is_first = !std::exchange(channel->is_begun, true);
      if (!channel->is_chat) {
        const auto n_held = static_cast<std::ptrdiff_t>(channel->tokens.size());
        return [shared, n_held] {
          return std::vector<Token>(shared->tokens.begin() + n_held, shared->tokens.end());
        };
      }
      std::string rest = shared->chat.substr(channel->text.size());
      channel->text += rest;
      return [rest = std::move(rest), is_first, &hub] {
        return hub.chat().encode(unflagged(rest), is_first);
      };
    };
    const std::shared_ptr<Answer> answer = hub.answer(*channel, options, writer, prepare);
    reply->on_gone([&scheduler = services.scheduler, answer] {
      scheduler.post([answer] { answer->cancel(); });
    });
  });
}

AnswerOptions completion_options(const Services& services, const Json& body, bool is_streamed,
                                 const std::vector<const char*>& names_of_most_tokens) {
  AnswerOptions options = {.sampling = services.hub.options().stream.sampling};
  read_sampling(body, options);
  for (const char* name : names_of_most_tokens) {
    if (const auto most = whole_field(body, name, 0, std::int64_t{1} << 40))
      options.most_tokens = *most;
  }
  if (!options.most_tokens && !is_streamed) options.most_tokens = kMostUnstreamed;
  options.stops = texts_field(body, "stop");
  if (options.stops.size() > 16)
    refuse("stop", fmt::format("stop: want at most 16 texts, found {}", options.stops.size()));
  options.ends_with_model = !bool_field(body, "ignore_eos").value_or(false);
  if (whole_field(body, "n", 1, 128).value_or(1) != 1)
    refuse("n", "n: this server writes one answer to a request; want 1");
  return options;
}

std::string token_text(const Model& model, Token token) { return model.token_text(token); }

}  // namespace runnel::serve
