// --json-schema and --json-object: what a written answer must be.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "runnel/constraint.h"

namespace CLI {
class App;
}  // namespace CLI

namespace runnel::cli {

class ConstraintArguments {
 public:
  // `object_names`: of the option that asks for any JSON object.
  void add_to(CLI::App& app, const char* object_names);
  bool any_given() const { return !schema_.empty() || is_object_; }
  // Reads the file and prepares the model's vocabulary, which must outlive this. Error: no such
  // file, no vocabulary, or a schema that asks for what is not supported.
  void prepare(const Model& model);
  // A new one, at the beginning of an answer; null where nothing was given.
  std::unique_ptr<TokenConstraint> make() const;

 private:
  std::string schema_;  // a file, or the text itself
  bool is_object_ = false;
  std::optional<Constraints> constraints_;
  std::unique_ptr<TokenConstraint> first_;
};

}  // namespace runnel::cli
