#include "runnel/chat.h"

#include "c/handles.h"

struct runnel_chat {
  std::shared_ptr<const runnel::Model> model;
  runnel::ChatTemplate chat;
};

namespace runnel::c {
namespace {

std::string string_of(const char* text) { return text == nullptr ? "" : text; }

// Structs in a row, each of the size that the first one says.
template <typename Struct>
std::vector<Struct> structs_of(const Struct* first, std::size_t n, const char* name) {
  std::vector<Struct> found;
  if (n == 0) return found;
  want(first, name);
  const auto* bytes = reinterpret_cast<const char*>(first);
  for (std::size_t i = 0; i < n; ++i) {
    Struct one = {};
    read_struct(one, reinterpret_cast<const Struct*>(bytes + i * first->size), name);
    found.push_back(one);
  }
  return found;
}

std::vector<ChatMessage> messages_of(const runnel_message* messages, std::size_t n) {
  std::vector<ChatMessage> found;
  for (const runnel_message& m : structs_of(messages, n, "runnel_message")) {
    want(m.role, "role");
    ChatMessage message = {.role = m.role,
                           .content = string_of(m.content),
                           .reasoning = string_of(m.reasoning),
                           .tool_call_id = string_of(m.tool_call_id),
                           .name = string_of(m.name)};
    for (const runnel_tool_call& call :
         structs_of(m.tool_calls, m.n_tool_calls, "runnel_tool_call")) {
      message.tool_calls.push_back(
          {string_of(call.id), string_of(call.name), string_of(call.arguments)});
    }
    found.push_back(std::move(message));
  }
  return found;
}

ChatOptions chat_options(const runnel_chat_options* options) {
  runnel_chat_options o = {.size = sizeof(o), .generation_prompt = 1, .thinking = -1};
  read_struct(o, options, "runnel_chat_options");
  ChatOptions result = {.tools = string_of(o.tools),
                        .add_generation_prompt = o.generation_prompt != 0,
                        .variables = string_of(o.variables)};
  if (o.thinking >= 0) result.enable_thinking = o.thinking != 0;
  return result;
}

void give_tokens(const std::vector<Token>& found, runnel_token** tokens, std::size_t* n_tokens) {
  want(tokens, "tokens");
  want(n_tokens, "n_tokens");
  give(std::span(found), tokens, n_tokens);
}

}  // namespace
}  // namespace runnel::c

using namespace runnel::c;

extern "C" {

void runnel_chat_options_init(runnel_chat_options* options, size_t size) {
  init_struct(runnel_chat_options{.size = size, .generation_prompt = 1, .thinking = -1}, options,
              size);
}

runnel_status runnel_chat_open(const runnel_model* model, const char* name, runnel_chat** chat) {
  return guarded([&] {
    want(model, "model");
    want(chat, "chat");
    *chat = new runnel_chat{model->model, runnel::ChatTemplate::of(*model->model, string_of(name))};
  });
}

void runnel_chat_close(runnel_chat* chat) { delete chat; }

const char* runnel_chat_name(const runnel_chat* chat) {
  return chat == nullptr ? "" : chat->chat.name().c_str();
}

const char* runnel_chat_warning(const runnel_chat* chat) {
  return chat == nullptr ? "" : chat->chat.warning().c_str();
}

runnel_status runnel_chat_text(const runnel_chat* chat, const runnel_message* messages, size_t n,
                               const runnel_chat_options* options, char** text, size_t* n_bytes) {
  return guarded([&] {
    want(chat, "chat");
    want(text, "text");
    std::string whole;
    for (const runnel::ChatText& piece :
         chat->chat.text(messages_of(messages, n), chat_options(options)))
      whole += piece.text;
    give_text(whole, text, n_bytes);
  });
}

runnel_status runnel_chat_tokens(const runnel_chat* chat, const runnel_message* messages, size_t n,
                                 const runnel_chat_options* options, runnel_token** tokens,
                                 size_t* n_tokens) {
  return guarded([&] {
    want(chat, "chat");
    give_tokens(chat->chat.tokens(messages_of(messages, n), chat_options(options)), tokens,
                n_tokens);
  });
}

runnel_status runnel_chat_opening(const runnel_chat* chat, const runnel_message* before, size_t n,
                                  const runnel_chat_options* options, runnel_token** tokens,
                                  size_t* n_tokens) {
  return guarded([&] {
    want(chat, "chat");
    give_tokens(chat->chat.opening(messages_of(before, n), chat_options(options)), tokens,
                n_tokens);
  });
}

runnel_status runnel_chat_turn(const runnel_chat* chat, const runnel_message* before,
                               size_t n_before, const runnel_message* added, size_t n_added,
                               const runnel_chat_options* options, runnel_token** tokens,
                               size_t* n_tokens) {
  return guarded([&] {
    want(chat, "chat");
    give_tokens(chat->chat.turn(messages_of(before, n_before), messages_of(added, n_added),
                                chat_options(options)),
                tokens, n_tokens);
  });
}

int32_t runnel_chat_is_end(const runnel_chat* chat, runnel_token token) {
  int32_t found = 0;
  guarded([&] {
    want(chat, "chat");
    found = chat->chat.is_end(token) ? 1 : 0;
  });
  return found;
}

}  // extern "C"
