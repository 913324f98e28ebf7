// Chat templates. Messages come as tuples: chat.py makes them from dicts.
#include "runnel/chat.h"

#include <nanobind/stl/tuple.h>

#include <tuple>

#include "binding.h"

namespace runnel::python {
namespace {

using Call = std::tuple<std::string, std::string, std::string>;  // id, name, arguments
// role, content, reasoning, tool calls, tool_call_id, name
using Message =
    std::tuple<std::string, std::string, std::string, std::vector<Call>, std::string, std::string>;

std::vector<ChatMessage> messages_of(const std::vector<Message>& messages) {
  std::vector<ChatMessage> found;
  for (const auto& [role, content, reasoning, calls, call_id, name] : messages) {
    ChatMessage message = {.role = role,
                           .content = content,
                           .reasoning = reasoning,
                           .tool_call_id = call_id,
                           .name = name};
    for (const auto& [id, tool, arguments] : calls)
      message.tool_calls.push_back({id, tool, arguments});
    found.push_back(std::move(message));
  }
  return found;
}

std::string text_of_dialogue(const ChatTemplate& self, const std::vector<Message>& messages,
                             const ChatOptions& options) {
  std::string text;
  for (const ChatText& piece : self.text(messages_of(messages), options)) text += piece.text;
  return text;
}

}  // namespace

void bind_chat(nb::module_& m) {
  nb::class_<ChatOptions>(m, "ChatOptions")
      .def(nb::init<>())
      .def_rw("tools", &ChatOptions::tools)
      .def_rw("add_generation_prompt", &ChatOptions::add_generation_prompt)
      .def_rw("enable_thinking", &ChatOptions::enable_thinking)
      .def_rw("variables", &ChatOptions::variables);
  nb::class_<ChatTemplate>(m, "ChatTemplate")
      .def("text", &text_of_dialogue)
      .def("tokens",
           [](const ChatTemplate& self, const std::vector<Message>& messages,
              const ChatOptions& options) { return self.tokens(messages_of(messages), options); })
      .def("opening",
           [](const ChatTemplate& self, const std::vector<Message>& before,
              const ChatOptions& options) { return self.opening(messages_of(before), options); })
      .def("turn",
           [](const ChatTemplate& self, const std::vector<Message>& before,
              const std::vector<Message>& added, const ChatOptions& options) {
             return self.turn(messages_of(before), messages_of(added), options);
           })
      .def("is_end", &ChatTemplate::is_end)
      .def_prop_ro("stops", [](const ChatTemplate& self) { return self.stops(); })
      .def_prop_ro("name", [](const ChatTemplate& self) { return self.name(); })
      .def_prop_ro("warning", [](const ChatTemplate& self) { return self.warning(); });
  m.def(
      "chat_template",
      [](const PyModel& model, const std::string& name) {
        return std::make_unique<ChatTemplate>(ChatTemplate::of(model.model, name));
      },
      nb::keep_alive<0, 1>());
}

}  // namespace runnel::python
