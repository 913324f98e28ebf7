#include "serve/protocols/completion_answer.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "serve/hub/transcript.h"
#include "serve/protocols/errors.h"
#include "serve/protocols/guard_json.h"
#include "serve/protocols/items.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kMostUnstreamed = 4096;  // tokens of an answer that comes whole
constexpr std::size_t kMostStops = 16;

// A history in the form that streams keep theirs in.
struct Told {
  History history;
  std::string text;               // transcript, up to where the answer begins
  std::vector<std::size_t> ends;  // of each message's part
  std::string begun;              // an assistant's message that the answer goes on with

  explicit Told(History given) : history(std::move(given)) {
    if (!history.is_chat) return;
    text = transcript(history.setting);
    for (const Message& message : history.messages) {
      text += transcript(message);
      ends.push_back(text.size());
    }
    const bool goes_on = !history.messages.empty() && history.messages.back().role == "assistant" &&
                         history.messages.back().tool_calls.empty();
    if (!goes_on) return;
    begun = history.messages.back().content;
    ends.pop_back();
    text.resize(ends.empty() ? transcript(history.setting).size() : ends.back());
  }

  // The messages behind the first `n` bytes.
  std::vector<Message> behind(std::size_t n) const {
    std::size_t first = 0;
    while (first < ends.size() && ends[first] <= n) ++first;
    return {history.messages.begin() + static_cast<std::ptrdiff_t>(first), history.messages.end()};
  }
};

Channel::Reading reading_of(Hub& hub, Channel& channel, const std::shared_ptr<const Told>& told) {
  const bool is_first = !std::exchange(channel.is_begun, true);
  if (!channel.is_chat) {
    const auto n_held = static_cast<std::ptrdiff_t>(channel.tokens.size());
    return [told, n_held] {
      const std::vector<Token>& tokens = told->history.tokens;
      return std::vector<Token>(tokens.begin() + n_held, tokens.end());
    };
  }
  const Standing standing = {is_first ? DialogueState::kFresh : channel.dialogue, channel.calls};
  std::vector<Message> more = told->behind(channel.text.size());
  channel.text = told->text;
  channel.dialogue = Dialogues::state_behind(standing.state, more, true);
  return [&hub, told, standing, more = std::move(more)] {
    return hub.chat().turns(told->history.setting, standing, more, true);
  };
}

}  // namespace

History History::of(std::vector<Message> messages) {
  const std::string system = take_system(messages);
  return {.is_chat = true, .setting = {.system = system}, .messages = std::move(messages)};
}

void answer_history(const Services& services, const ReplyPtr& reply, History history,
                    AnswerOptions options, std::shared_ptr<CompletionWriter> writer) {
  const Dialogues& chat = services.hub.chat();
  const auto told = std::make_shared<const Told>(std::move(history));
  std::vector<Token> pinned;
  if (told->history.is_chat) {
    options.turn_ends = chat.stops();
    options.begun = told->begun;
    pinned = chat.opening(told->history.setting);
  }
  const auto work = [=, &services, options = std::move(options)] {
    Hub& hub = services.hub;
    Channel* channel = hub.holding(told->text, told->history.tokens);
    writer->is_continued = channel != nullptr;
    if (channel != nullptr) {
      hub.leave_copy(*channel);
    } else {
      channel = &hub.open(Channel::Kind::kCompletion, random_id("stream_"), pinned);
      channel->is_chat = told->history.is_chat;
      if (channel->is_chat) channel->text = transcript(told->history.setting);
    }
    ++channel->n_turns;
    const std::shared_ptr<Answer> answer =
        hub.answer(*channel, options, writer,
                   [told, channel, &hub] { return reading_of(hub, *channel, told); });
    reply->on_gone([&scheduler = services.scheduler, answer] {
      scheduler.post([answer] { answer->cancel(); });
    });
  };
  on_streams(services, reply, work, writer->error_body());
}

std::int64_t count_tokens(const Services& services, const History& history) {
  const Dialogues& chat = services.hub.chat();
  const std::vector<Token> opening = chat.opening(history.setting);
  const Standing standing = {opening.empty() ? DialogueState::kFresh : DialogueState::kAfterSystem};
  return std::ssize(opening) +
         std::ssize(chat.turns(history.setting, standing, history.messages, true));
}

AnswerOptions completion_options(const Services& services, const Json& body, bool is_streamed,
                                 const std::vector<const char*>& names_of_most_tokens) {
  AnswerOptions options = {.sampling = services.hub.options().stream.sampling};
  read_sampling(body, options);
  for (const char* name : names_of_most_tokens) {
    if (const auto most = whole_field(body, name, 0, std::int64_t{1} << 40))
      options.most_tokens = *most;
  }
  bound_unstreamed(options, is_streamed);
  options.stops = texts_field(body, "stop");
  if (options.stops.size() > kMostStops)
    refuse("stop",
           fmt::format("stop: want at most {} texts, found {}", kMostStops, options.stops.size()));
  options.guard = read_guard(body, services.hub.options().guard);
  options.ends_with_model = !bool_field(body, "ignore_eos").value_or(false);
  for (const char* number : {"n", "best_of"}) {
    if (whole_field(body, number, 1, 128).value_or(1) != 1)
      refuse(number, fmt::format("{}: this server writes one answer to a request; want 1", number));
  }
  refuse_missing_features(body, {{"logit_bias", "this server shifts no token's likelihood"}});
  return options;
}

Telling telling_of(const Services& services, const Json& body, const AnswerOptions& options,
                   bool is_streamed) {
  Telling telling = {.model_id = services.model_id,
                     .is_streamed = is_streamed,
                     .has_log_probabilities = options.wants_log_probabilities};
  if (const auto more = body.find("stream_options"); more != body.end() && more->is_object())
    telling.has_usage = bool_field(*more, "include_usage").value_or(false);
  return telling;
}

void bound_unstreamed(AnswerOptions& options, bool is_streamed) {
  if (!options.most_tokens && !is_streamed) options.most_tokens = kMostUnstreamed;
}

}  // namespace runnel::serve
