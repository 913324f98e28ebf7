#include "serve/protocols/demands.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

constexpr std::size_t kMostTools = 128;

const Json& list_of_tools(const Json& body) {
  static const Json none = Json::array();
  const auto given = body.find("tools");
  if (given == body.end() || given->is_null()) return none;
  if (!given->is_array()) refuse("tools", "tools: want a list");
  if (given->size() > kMostTools)
    refuse("tools", fmt::format("tools: want at most {}, found {}", kMostTools, given->size()));
  return *given;
}

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

std::string where_of(std::size_t i) { return fmt::format("tools[{}]", i); }

void check_type(const Json& tool, const std::string& where, const char* otherwise) {
  if (!tool.is_object()) refuse("tools", where + ": want an object");
  const std::string type = text_field(tool, "type").value_or(otherwise);
  if (type != "function")
    refuse("tools", fmt::format("{}: this server calls functions; want type function, found \"{}\"",
                                where, type));
}

std::string text_of(const Json& tools) { return tools.empty() ? "" : dump(tools); }

}  // namespace

std::string tools_of_chat(const Json& body) {
  const Json& given = list_of_tools(body);
  Json tools = Json::array();
  for (std::size_t i = 0; i < given.size(); ++i) {
    check_type(given[i], where_of(i), "function");
    tools.push_back(
        tool_of(given[i].value("function", Json()), "parameters", where_of(i) + ".function"));
  }
  return text_of(tools);
}

std::string tools_of_responses(const Json& body) {
  const Json& given = list_of_tools(body);
  Json tools = Json::array();
  for (std::size_t i = 0; i < given.size(); ++i) {
    check_type(given[i], where_of(i), "");
    tools.push_back(tool_of(given[i], "parameters", where_of(i)));
  }
  return text_of(tools);
}

std::string tools_of_messages(const Json& body) {
  const Json& given = list_of_tools(body);
  Json tools = Json::array();
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (!given[i].is_object()) refuse("tools", where_of(i) + ": want an object");
    const std::string type = text_field(given[i], "type").value_or("custom");
    if (type != "custom")
      refuse("tools", fmt::format("{}: this server has no tools of its own; want type custom, "
                                  "found \"{}\"",
                                  where_of(i), type));
    tools.push_back(tool_of(given[i], "input_schema", where_of(i)));
  }
  return text_of(tools);
}

void read_choice(const Json& body, Demands& demands) {
  using Choice = Demands::Choice;
  demands.choice_field = "tool_choice";
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
    refuse(demands.choice_field,
           demands.choice_field + ": a call is wanted, but no tools are given");
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
    if (is_forced && std::string(error.what()).starts_with("tools: none"))
      field = demands.choice_field;
    throw RequestError({.code = "unsupported_schema",
                        .param = field,
                        .message = fmt::format("{}: {}", field, error.what())});
  }
}

}  // namespace runnel::serve
