#include "serve/protocols/demands.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

constexpr std::size_t kMostTools = 128;

Json parameters_of(const Json& function, const char* field, const std::string& where) {
  const auto given = function.find(field);
  if (given == function.end() || given->is_null())
    return {{"type", "object"}, {"properties", Json::object()}};
  if (!given->is_object())
    refuse("tools", fmt::format("{}.{}: want a schema, an object", where, field));
  return *given;
}

// The tool as chat completions have it.
Json tool_of(const Json& function, const char* schema_field, const std::string& where) {
  if (!function.is_object()) refuse("tools", where + ": want an object");
  const std::string name = text_field(function, "name").value_or("");
  const bool is_name =
      !name.empty() && name.size() <= 128 &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
          name.npos;
  if (!is_name)
    refuse("tools", fmt::format("{}.name: want letters, digits, _, - and ., at most 128, found "
                                "\"{}\"",
                                where, name.substr(0, 200)));
  return {{"type", "function"},
          {"function",
           {{"name", name},
            {"description", text_field(function, "description").value_or("")},
            {"parameters", parameters_of(function, schema_field, where)}}}};
}

// `otherwise`: the type of a tool without one.
void check_type(const Json& tool, const std::string& where, const char* wanted,
                const char* otherwise, const char* why) {
  if (!tool.is_object()) refuse("tools", where + ": want an object");
  const std::string type = text_field(tool, "type").value_or(otherwise);
  if (type != wanted)
    refuse("tools", fmt::format("{}: {}; want type {}, found \"{}\"", where, why, wanted, type));
}

// The list of tools, each as read(tool, where) gives it; null and empty: none.
template <typename Read>
std::string tools_of(const Json& body, Read read) {
  const auto given = body.find("tools");
  if (given == body.end() || given->is_null()) return "";
  if (!given->is_array()) refuse("tools", "tools: want a list");
  if (given->size() > kMostTools)
    refuse("tools", fmt::format("tools: want at most {}, found {}", kMostTools, given->size()));
  Json tools = Json::array();
  for (std::size_t i = 0; i < given->size(); ++i)
    tools.push_back(read((*given)[i], fmt::format("tools[{}]", i)));
  return tools.empty() ? "" : dump(tools);
}

// {"type": "function", "function": {...}}
std::string tools_of_chat(const Json& body) {
  return tools_of(body, [](const Json& tool, const std::string& where) {
    check_type(tool, where, "function", "function", "this server calls functions");
    return tool_of(tool.value("function", Json()), "parameters", where + ".function");
  });
}

// {"type": "function", "name": ...}
std::string tools_of_responses(const Json& body) {
  return tools_of(body, [](const Json& tool, const std::string& where) {
    check_type(tool, where, "function", "", "this server calls functions");
    return tool_of(tool, "parameters", where);
  });
}

// {"name": ..., "input_schema": ...}
std::string tools_of_messages(const Json& body) {
  return tools_of(body, [](const Json& tool, const std::string& where) {
    check_type(tool, where, "custom", "custom", "this server has no tools of its own");
    return tool_of(tool, "input_schema", where);
  });
}

// "tool_choice" and "parallel_tool_calls" of chat completions and responses.
void read_choice(const Json& body, Demands& demands) {
  using Choice = Demands::Choice;
  demands.parallel = bool_field(body, "parallel_tool_calls");
  const auto given = body.find("tool_choice");
  if (given == body.end() || given->is_null()) return;
  if (given->is_object()) {
    const Json function = given->value("function", *given);
    const bool is_function = given->value("type", Json()) == "function" && function.is_object();
    if (!is_function)
      refuse("tool_choice", "tool_choice: want auto, none, required, or a function by name");
    demands.choice = Choice::kNamed;
    demands.name = text_field(function, "name").value_or("");
    if (demands.name.empty()) refuse("tool_choice", "tool_choice: want the name of a function");
    return;
  }
  const std::string choice = given->is_string() ? given->get<std::string>() : "";
  if (choice == "none") {
    demands.choice = Choice::kNone;
  } else if (choice == "required") {
    demands.choice = Choice::kRequired;
  } else if (choice != "auto") {
    refuse("tool_choice", "tool_choice: want auto, none, required, or a function by name");
  }
}

// "tool_choice" of messages.
void read_tool_choice(const Json& body, Demands& demands) {
  using Choice = Demands::Choice;
  const auto given = body.find("tool_choice");
  if (given == body.end() || given->is_null()) return;
  const std::string type = given->is_object() ? text_field(*given, "type").value_or("") : "";
  if (type == "any") {
    demands.choice = Choice::kRequired;
  } else if (type == "tool") {
    demands.choice = Choice::kNamed;
    demands.name = text_field(*given, "name").value_or("");
    if (demands.name.empty()) refuse("tool_choice", "tool_choice: want the name of a tool");
  } else if (type == "none") {
    demands.choice = Choice::kNone;
  } else if (type != "auto") {
    refuse("tool_choice", "tool_choice: want an object of type auto, any, tool or none");
  }
  if (const auto single = bool_field(*given, "disable_parallel_tool_use"))
    demands.parallel = !*single;
}

// {"type": "json_schema", ...}; `inner`: the object that holds the schema.
void read_format(const Json& format, const Json& inner, const std::string& field,
                 Demands& demands) {
  if (format.is_null()) return;
  if (!format.is_object()) refuse(field, field + ": want an object");
  const std::string type = text_field(format, "type").value_or("text");
  demands.schema_field = field;
  if (type == "json_object") {
    demands.schema = "";
  } else if (type == "json_schema") {
    const auto schema = inner.is_object() ? inner.find("schema") : inner.end();
    if (!inner.is_object() || schema == inner.end() ||
        !(schema->is_object() || schema->is_boolean()))
      refuse(field, field + ": want a schema, an object");
    demands.schema = dump(*schema);
  } else if (type != "text") {
    refuse(field,
           fmt::format("{}: want text, json_object or json_schema, found \"{}\"", field, type));
  }
}

// "chat_template_kwargs" and an effort of thinking.
void read_template_variables(const Json& body, const std::optional<std::string>& effort,
                             Demands& demands) {
  Json variables = Json::object();
  if (const auto given = body.find("chat_template_kwargs");
      given != body.end() && !given->is_null()) {
    if (!given->is_object()) refuse("chat_template_kwargs", "chat_template_kwargs: want an object");
    variables = *given;
  }
  if (variables.contains("enable_thinking"))
    demands.thinking = bool_field(variables, "enable_thinking");
  variables.erase("enable_thinking");
  if (effort == "none") demands.thinking = false;
  if (effort && effort != "none") variables["reasoning_effort"] = *effort;
  if (!variables.empty()) demands.variables = dump(variables);
}

}  // namespace

Demands demands_of_chat(const Json& body) {
  Demands demands = {.tools = tools_of_chat(body)};
  read_choice(body, demands);
  const Json format = body.value("response_format", Json());
  const Json inner = format.is_object() ? format.value("json_schema", Json()) : Json();
  read_format(format, inner, "response_format", demands);
  read_template_variables(body, text_field(body, "reasoning_effort"), demands);
  return demands;
}

Demands demands_of_response(const Json& body) {
  Demands demands = {.tools = tools_of_responses(body)};
  read_choice(body, demands);
  if (const Json text = body.value("text", Json()); text.is_object()) {
    const Json format = text.value("format", Json());
    read_format(format, format, "text.format", demands);
  }
  const Json reasoning = body.value("reasoning", Json());
  std::optional<std::string> effort;
  if (reasoning.is_object()) effort = text_field(reasoning, "effort");
  read_template_variables(body, effort, demands);
  return demands;
}

Demands demands_of_messages(const Json& body) {
  Demands demands = {.tools = tools_of_messages(body)};
  read_tool_choice(body, demands);
  if (const Json output = body.value("output_config", Json()); output.is_object()) {
    const Json format = output.value("format", Json());
    read_format(format, format, "output_config.format", demands);
  }
  read_template_variables(body, std::nullopt, demands);
  if (const Json thinking = body.value("thinking", Json()); thinking.is_object()) {
    const std::string type = text_field(thinking, "type").value_or("");
    if (type != "enabled" && type != "disabled" && type != "adaptive")
      refuse("thinking",
             "thinking: want type enabled, disabled or adaptive, found \"" + type + "\"");
    if (type != "adaptive") demands.thinking = type == "enabled";
  }
  return demands;
}

Demands demands_of_ollama(const Json& body) {
  Demands demands = {.tools = tools_of_chat(body)};
  read_choice(body, demands);
  demands.schema_field = "format";
  if (const Json format = body.value("format", Json()); format.is_object()) {
    demands.schema = dump(format);
  } else if (format == "json") {
    demands.schema = "";
  } else if (!format.is_null() && format != "") {
    refuse("format", "format: want \"json\" or a schema, found " + dump(format).substr(0, 80));
  }
  const Json think = body.value("think", Json());
  std::optional<std::string> effort;
  if (think.is_string()) effort = think.get<std::string>();
  read_template_variables(body, effort, demands);
  if (think.is_boolean()) demands.thinking = think.get<bool>();
  return demands;
}

void demand(const Services& services, const Demands& demands, Setting& setting,
            AnswerOptions& options) {
  using Choice = Demands::Choice;
  setting.tools = demands.tools;
  setting.variables = demands.variables;
  setting.thinking = demands.thinking;
  AnswerForm& form = options.form;
  form = services.hub.chat().form(setting);
  const bool is_forced = demands.choice == Choice::kRequired || demands.choice == Choice::kNamed;
  if (is_forced && demands.tools.empty())
    refuse("tool_choice", "tool_choice: a call is wanted, but no tools are given");
  const bool is_silenced = demands.choice == Choice::kNone || demands.tools.empty();
  if (is_silenced && form.calls != CallStyle::kChannels) form.calls = CallStyle::kNone;
  options.one_call = demands.parallel == false;
  const AnswerConstraints& constraints = services.hub.constraints();
  std::string field = demands.schema_field;
  try {
    if (is_forced) {
      field = "tools";
      options.constraint = constraints.tool_call(form, demands.tools, demands.name,
                                                 demands.parallel.value_or(false));
    } else if (demands.schema) {
      options.constraint =
          constraints.json_answer(form, *demands.schema, is_silenced ? "" : demands.tools);
    }
  } catch (const RequestError&) {
    throw;
  } catch (const Error& error) {
    if (is_forced && std::string(error.what()).starts_with("tools: none")) field = "tool_choice";
    throw RequestError({.code = "unsupported_schema",
                        .param = field,
                        .message = fmt::format("{}: {}", field, error.what())});
  }
}

}  // namespace runnel::serve
