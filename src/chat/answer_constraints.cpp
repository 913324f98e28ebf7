#include "chat/answer_constraints.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json_depth.h"
#include "engine/internals.h"
#include "grammar/constraint.h"
#include "grammar/json_schema.h"
#include "runnel/runnel.h"

namespace runnel {
namespace {

using Json = nlohmann::ordered_json;

// Stands before the name of a control token, where a grammar asks for one: a byte that no text of
// UTF-8 holds.
constexpr char kControl = '\xff';
constexpr int kMostCalls = 8;

TokenOrder tokens_of(const Model& model) {
  const Tokenizer& vocabulary = model.internals().vocabulary();
  const auto n = static_cast<std::size_t>(std::max(model.vocabulary_size(), vocabulary.size()));
  std::vector<std::string> texts(n);
  std::vector<Token> ends;
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (vocabulary.is_end_of_generation(token)) ends.push_back(token);
    if (vocabulary.vocabulary().kind(token) == TokenKind::kUnused) continue;
    if (vocabulary.is_control(token)) {
      if (!vocabulary.is_end_of_generation(token))
        texts[static_cast<std::size_t>(token)] = kControl + std::string(vocabulary.piece(token));
      continue;
    }
    std::string text = vocabulary.decode(token);
    if (text.find(kControl) == text.npos) texts[static_cast<std::size_t>(token)] = std::move(text);
  }
  return {texts, std::move(ends)};
}

}  // namespace

// A tool that may be called.
struct AnswerConstraints::Tool {
  std::string name;
  Json parameters;  // the schema of its arguments
};

// Those of the list, or the one of this name.
std::vector<AnswerConstraints::Tool> AnswerConstraints::tools_named(std::string_view tools,
                                                                    std::string_view name) {
  if (is_nested_deeper(tools)) throw Error("tools: nested too deeply");
  const Json list = Json::parse(tools, nullptr, false);
  if (!list.is_array() || list.empty()) throw Error("tools: want a JSON list of at least one");
  std::vector<Tool> found;
  for (const Json& tool : list) {
    const Json& function = tool.is_object() && tool.contains("function") ? tool["function"] : tool;
    if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) {
      throw Error("tools: want a name for each");
    }
    if (!name.empty() && function["name"].get<std::string>() != name) continue;
    found.push_back({function["name"].get<std::string>(), function.contains("parameters")
                                                              ? function["parameters"]
                                                              : Json{{"type", "object"}}});
  }
  if (found.empty()) throw Error(fmt::format("tools: none has the name {}", name));
  return found;
}

// An object that is a call of the tool.
std::string AnswerConstraints::call_schema(const Tool& tool, const char* arguments) {
  Json properties = {{"name", {{"const", tool.name}}}};
  properties[arguments] = tool.parameters;
  return Json{{"type", "object"},
              {"properties", properties},
              {"required", Json::array({"name", arguments})}}
      .dump();
}

AnswerConstraints::AnswerConstraints(const Model& model)
    : vocabulary_(&model.internals().vocabulary()), tokens_(tokens_of(model)) {}

std::unique_ptr<TokenConstraint> AnswerConstraints::make(Grammar grammar,
                                                         Grammar::Rule start) const {
  grammar.set_start(start);
  return std::make_unique<GrammarConstraint>(std::make_shared<const Grammar>(std::move(grammar)),
                                             tokens_);
}

bool AnswerConstraints::has_control(std::string_view name) const {
  const std::optional<Token> token = vocabulary_->find(name);
  return token && vocabulary_->is_control(*token);
}

// A mark of the template: the control token, or its letters where the vocabulary has none.
std::string AnswerConstraints::mark(std::string_view name) const {
  return (has_control(name) ? std::string(1, kControl) : "").append(name);
}

std::string AnswerConstraints::behind_thought(const AnswerForm& form) const {
  return form.begins_thinking ? mark(form.think_end) + "\n\n" : "";
}

// One call of the tool, as answers of this form write it.
Grammar::Sequence AnswerConstraints::call(Grammar& grammar, const AnswerForm& form,
                                          const Tool& tool) const {
  std::string before, after;
  std::string schema = tool.parameters.dump();
  switch (form.calls) {
    case CallStyle::kNone:
      break;
    case CallStyle::kTagged:
      before = mark("<tool_call>") + "\n";
      schema = call_schema(tool, "arguments");
      after = "\n" + mark("</tool_call>");
      break;
    case CallStyle::kBare:
      schema = call_schema(tool, "parameters");
      break;
    case CallStyle::kListed:
      if (has_control("[ARGS]")) {
        before = mark("[TOOL_CALLS]") + tool.name + mark("[ARGS]");
      } else {
        schema = call_schema(tool, "arguments");
      }
      break;
    case CallStyle::kChannels:
      before = mark("<|channel|>") + "commentary to=functions." + tool.name + " " +
               mark("<|constrain|>") + "json" + mark("<|message|>");
      break;
  }
  Grammar::Sequence sequence = grammar.literal(before);
  sequence.push_back(grammar.rule(json_schema_rule(grammar, schema)));
  grammar.append(after, sequence);
  return sequence;
}

// A call of one of the tools, or a few where the form has a way to write them.
Grammar::Part AnswerConstraints::calls(Grammar& grammar, const AnswerForm& form,
                                       const std::vector<Tool>& tools, bool several) const {
  std::vector<Grammar::Sequence> ways;
  for (const Tool& tool : tools) ways.push_back(call(grammar, form, tool));
  const Grammar::Part one = grammar.rule(grammar.choice(ways));
  const bool is_list = form.calls == CallStyle::kListed && !has_control("[ARGS]");
  Grammar::Sequence whole;
  if (is_list) grammar.append(mark("[TOOL_CALLS]") + "[", whole);
  whole.push_back(one);
  if (several && (form.calls == CallStyle::kTagged || form.calls == CallStyle::kListed)) {
    const char* const between = is_list ? ", " : form.calls == CallStyle::kTagged ? "\n" : "";
    Grammar::Sequence more = grammar.literal(between);
    more.push_back(one);
    whole.push_back(grammar.rule(grammar.repeat(more, 0, kMostCalls - 1)));
  }
  if (is_list) grammar.append("]", whole);
  return grammar.rule(grammar.choice({whole}));
}

std::unique_ptr<TokenConstraint> AnswerConstraints::json_answer(const AnswerForm& form,
                                                                std::string_view schema,
                                                                std::string_view tools) const {
  Grammar grammar;
  Grammar::Sequence said;
  if (form.calls == CallStyle::kChannels) {
    grammar.append(mark("<|channel|>") + "final" + mark("<|message|>"), said);
  }
  said.push_back(
      grammar.rule(schema.empty() ? json_object_rule(grammar) : json_schema_rule(grammar, schema)));
  std::vector<Grammar::Sequence> ways = {said};
  if (!tools.empty()) ways.push_back({calls(grammar, form, tools_named(tools, ""), false)});
  Grammar::Sequence whole = grammar.literal(behind_thought(form));
  whole.push_back(grammar.rule(grammar.choice(ways)));
  const Grammar::Rule start = grammar.choice({whole});
  return make(std::move(grammar), start);
}

std::unique_ptr<TokenConstraint> AnswerConstraints::tool_call(const AnswerForm& form,
                                                              std::string_view tools,
                                                              std::string_view name,
                                                              bool several) const {
  if (form.calls == CallStyle::kNone) {
    throw Error("tool choice: a call cannot be asked for where the template has no form of calls");
  }
  Grammar grammar;
  Grammar::Sequence whole = grammar.literal(behind_thought(form));
  whole.push_back(calls(grammar, form, tools_named(tools, name), several && name.empty()));
  const Grammar::Rule start = grammar.choice({whole});
  return make(std::move(grammar), start);
}

}  // namespace runnel
