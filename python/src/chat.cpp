// Chat templates. Messages come as tuples: chat.py makes them from dicts.
#include "runnel/chat.h"

#include <nanobind/stl/tuple.h>

#include <tuple>

#include "binding.h"
#include "engine/internals.h"

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

// Calls are looked for where tools were given; channels always.
AnswerForm form_of(const ChatTemplate& self, const ChatOptions& options) {
  AnswerForm form = self.answer_form(options);
  if (options.tools.empty() && form.calls != CallStyle::kChannels) form.calls = CallStyle::kNone;
  return form;
}

// kind, text, index of the call, its id, its name
using Event = std::tuple<const char*, std::string, int, std::string, std::string>;

std::vector<Event> events_of(const std::vector<AnswerEvent>& events) {
  constexpr const char* kKinds[] = {"text", "reasoning", "call", "arguments", "end"};
  std::vector<Event> found;
  for (const AnswerEvent& event : events) {
    found.emplace_back(kKinds[static_cast<std::size_t>(event.kind)], event.text, event.index,
                       event.id, event.name);
  }
  return found;
}

// The stream writes a call of one of the tools, or of the one of this name, and nothing else.
void set_tool_call(const PyModel& model, PyStream& self, const AnswerForm& form,
                   const std::string& tools, const std::string& name) {
  const auto lock = self.lock();
  const nb::gil_scoped_release unlocked;
  self.use().set_constraint(model.constraints().tool_call(form, tools, name));
}

// The name of a control token, "<|im_end|>"; of others none.
std::optional<std::string> mark_of(const PyModel& self, Token token) {
  const auto& vocabulary = self.model.internals().vocabulary();
  if (!vocabulary.is_control(token)) return std::nullopt;
  return std::string(vocabulary.piece(token));
}

void bind_answers(nb::module_& m) {
  nb::class_<AnswerForm>(m, "AnswerForm").def_prop_ro("is_plain", [](const AnswerForm& form) {
    return form.calls == CallStyle::kNone && form.think_begin.empty();
  });
  nb::class_<AnswerParser>(m, "AnswerParser")
      .def(nb::init<const AnswerForm&>())
      .def("push",
           [](AnswerParser& self, const std::string& text) { return events_of(self.push(text)); })
      .def("push_mark", [](AnswerParser& self,
                           const std::string& name) { return events_of(self.push_mark(name)); })
      .def("finish", [](AnswerParser& self) { return events_of(self.finish()); });
  m.def("mark_of", &mark_of);
  m.def("set_tool_call", &set_tool_call);
}

}  // namespace

void bind_chat(nb::module_& m) {
  bind_answers(m);
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
      .def("answer_form", &form_of)
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
