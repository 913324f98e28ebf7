#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_depth.h"
#include "engine/internals.h"
#include "grammar/constraint.h"
#include "grammar/json_schema.h"
#include "runnel/constraint.h"
#include "runnel/runnel.h"

namespace runnel {
namespace {

TokenOrder tokens_of(const Model& model) {
  const Tokenizer& vocabulary = model.internals().vocabulary();
  const auto n = static_cast<std::size_t>(std::max(model.vocabulary_size(), vocabulary.size()));
  std::vector<std::string> texts(n);
  std::vector<Token> ends;
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (vocabulary.is_end_of_generation(token)) ends.push_back(token);
    if (vocabulary.vocabulary().kind(token) == TokenKind::kUnused) continue;
    if (!vocabulary.is_control(token))
      texts[static_cast<std::size_t>(token)] = vocabulary.decode(token);
  }
  return {texts, std::move(ends)};
}

// The schema of a call: its name is a constant, its arguments are as the tool says.
std::string call_schema(std::string_view tools, std::string_view name, const char* arguments) {
  using Json = nlohmann::ordered_json;
  if (is_nested_deeper(tools)) throw Error("tools: nested too deeply");
  const Json list = Json::parse(tools, nullptr, false);
  if (!list.is_array() || list.empty()) throw Error("tools: want a JSON list of at least one");
  Json ways = Json::array();
  for (const Json& tool : list) {
    const Json& function = tool.is_object() && tool.contains("function") ? tool["function"] : tool;
    if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) {
      throw Error("tools: want a name for each");
    }
    if (!name.empty() && function["name"].get<std::string>() != name) continue;
    Json properties = {{"name", {{"const", function["name"]}}}};
    properties[arguments] =
        function.contains("parameters") ? function["parameters"] : Json{{"type", "object"}};
    ways.push_back({{"type", "object"},
                    {"properties", properties},
                    {"required", Json::array({"name", arguments})}});
  }
  if (ways.empty()) throw Error(fmt::format("tools: none has the name {}", name));
  return Json{{"anyOf", ways}}.dump();
}

}  // namespace

struct Constraints::State {
  TokenOrder tokens;

  std::unique_ptr<TokenConstraint> make(Grammar grammar, Grammar::Rule start) const {
    grammar.set_start(start);
    return std::make_unique<GrammarConstraint>(std::make_shared<const Grammar>(std::move(grammar)),
                                               tokens);
  }
};

Constraints::Constraints(const Model& model) : state_(new State{tokens_of(model)}) {}
Constraints::Constraints(Constraints&&) noexcept = default;
Constraints& Constraints::operator=(Constraints&&) noexcept = default;
Constraints::~Constraints() = default;

std::unique_ptr<TokenConstraint> Constraints::json_schema(std::string_view schema) const {
  return json_between("", schema, "");
}

std::unique_ptr<TokenConstraint> Constraints::json_object() const {
  Grammar grammar;
  const Grammar::Rule rule = json_object_rule(grammar);
  return state_->make(std::move(grammar), rule);
}

std::unique_ptr<TokenConstraint> Constraints::json_between(std::string_view prefix,
                                                           std::string_view schema,
                                                           std::string_view suffix) const {
  Grammar grammar;
  Grammar::Sequence whole = grammar.literal(prefix);
  const Grammar::Rule rule = json_schema_rule(grammar, schema);
  whole.push_back(grammar.rule(rule));
  grammar.append(suffix, whole);
  const Grammar::Rule start = grammar.choice({whole});
  return state_->make(std::move(grammar), start);
}

std::unique_ptr<TokenConstraint> Constraints::tool_call(const AnswerForm& form,
                                                        std::string_view tools,
                                                        std::string_view name) const {
  if (form.calls == CallStyle::kTagged) {
    return json_between("<tool_call>\n", call_schema(tools, name, "arguments"), "\n</tool_call>");
  }
  if (form.calls == CallStyle::kBare) return json_schema(call_schema(tools, name, "parameters"));
  throw Error(
      "tool choice: calls of this model's form cannot be enforced; want those of Qwen, Hermes or "
      "Llama 3");
}

}  // namespace runnel
