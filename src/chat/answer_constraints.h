// Answers of a template's form that must be calls of tools or JSON: what Constraints makes them of,
// and with more choice for the server.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/token_order.h"
#include "runnel/answer.h"
#include "runnel/constraint.h"

namespace runnel {

class Tokenizer;

// Control tokens have a place in its grammars, where forms ask for one. May be used by several
// threads at once; the model must outlive it and what it makes.
class AnswerConstraints {
 public:
  explicit AnswerConstraints(const Model& model);

  std::unique_ptr<TokenConstraint> make(Grammar grammar, Grammar::Rule start) const;

  // The whole answer as JSON of the schema, or any object where that is empty: behind the end of a
  // thought that the prompt has begun, and in the channel for what is said. Where `tools` are
  // given: that, or a call of one of them.
  std::unique_ptr<TokenConstraint> json_answer(const AnswerForm& form, std::string_view schema,
                                               std::string_view tools = {}) const;
  // As Constraints::tool_call; `several`: or a few calls, where the form can.
  std::unique_ptr<TokenConstraint> tool_call(const AnswerForm& form, std::string_view tools,
                                             std::string_view name, bool several) const;

 private:
  struct Tool;
  static std::vector<Tool> tools_named(std::string_view tools, std::string_view name);
  static std::string call_schema(const Tool& tool, const char* arguments);
  bool has_control(std::string_view name) const;
  std::string mark(std::string_view name) const;
  std::string behind_thought(const AnswerForm& form) const;
  Grammar::Sequence call(Grammar& grammar, const AnswerForm& form, const Tool& tool) const;
  Grammar::Part calls(Grammar& grammar, const AnswerForm& form, const std::vector<Tool>& tools,
                      bool several) const;

  const Tokenizer* vocabulary_;
  TokenOrder tokens_;
};

}  // namespace runnel
