// Answers that must have a form: JSON of a schema, a call of a tool. A constraint says before each
// token which ones may come, so that what a stream writes is a text of the form, to its end.
//
//   const runnel::Constraints forms(model);
//   stream.set_constraint(forms.json_schema(R"({"type": "object", ...})"));
//   for (;;) { step = stream.next(); if (step.end_of_generation) break; ... }
//
// A constraint is not part of a saved stream: set it again and give it the tokens of the answer so
// far (accept), and it goes on where it was.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "runnel/answer.h"
#include "runnel/error.h"
#include "runnel/options.h"

namespace runnel {

class Model;

class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // The tokens that may come next: bit (t % 64) of word (t / 64). Tokens that end a generation are
  // among them only where the text is complete. Valid until the next call.
  virtual std::span<const std::uint64_t> allowed() = 0;
  // The token that came. Error: it was not allowed.
  virtual void accept(Token token) = 0;
  // The text may end here.
  virtual bool is_complete() const = 0;
  // The same, in the same place: for a fork of a stream.
  virtual std::unique_ptr<TokenConstraint> clone() const = 0;
};

// Makes constraints for one model's vocabulary, which it sorts once. The model, and the maker, must
// outlive them. May be used by several threads at once.
class Constraints {
 public:
  explicit Constraints(const Model& model);
  Constraints(Constraints&&) noexcept;
  Constraints& operator=(Constraints&&) noexcept;
  ~Constraints();

  // JSON that the schema accepts. Objects have the properties of the schema, in its order (those
  // that are not required may be left out); white space is short. docs/templates.md lists what part
  // of JSON Schema holds. Error: the rest, by name.
  std::unique_ptr<TokenConstraint> json_schema(std::string_view schema) const;
  std::unique_ptr<TokenConstraint> json_object() const;  // any JSON object

  // `prefix`, then JSON of the schema, then `suffix`: "<tool_call>\n" ... "\n</tool_call>".
  std::unique_ptr<TokenConstraint> json_between(std::string_view prefix, std::string_view schema,
                                                std::string_view suffix) const;

  // A call of one of the tools (a JSON list as OpenAI's API has it), or of the one of this name, as
  // answers of this form write it. Error: no such tool, a schema that is not supported, or a form
  // without calls.
  std::unique_ptr<TokenConstraint> tool_call(const AnswerForm& form, std::string_view tools,
                                             std::string_view name = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel
