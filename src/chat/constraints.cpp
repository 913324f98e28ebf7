#include "chat/answer_constraints.h"
#include "grammar/json_schema.h"
#include "runnel/runnel.h"

namespace runnel {

struct Constraints::State {
  AnswerConstraints answers;
};

Constraints::Constraints(const Model& model) : state_(new State{AnswerConstraints(model)}) {}
Constraints::Constraints(Constraints&&) noexcept = default;
Constraints& Constraints::operator=(Constraints&&) noexcept = default;
Constraints::~Constraints() = default;

std::unique_ptr<TokenConstraint> Constraints::json_schema(std::string_view schema) const {
  return json_between("", schema, "");
}

std::unique_ptr<TokenConstraint> Constraints::json_object() const {
  Grammar grammar;
  const Grammar::Rule rule = json_object_rule(grammar);
  return state_->answers.make(std::move(grammar), rule);
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
  return state_->answers.make(std::move(grammar), start);
}

std::unique_ptr<TokenConstraint> Constraints::tool_call(const AnswerForm& form,
                                                        std::string_view tools,
                                                        std::string_view name) const {
  return state_->answers.tool_call(form, tools, name, false);
}

}  // namespace runnel
