#include "cli/constraint_arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/files.h"
#include "runnel/runnel.h"

namespace runnel::cli {

void ConstraintArguments::add_to(CLI::App& app, const char* object_names) {
  CLI::Option* schema =
      app.add_option("--json-schema", schema_,
                     "Each answer is JSON of this JSON Schema: a file, or the schema itself where "
                     "it begins with {")
          ->type_name("FILE");
  app.add_flag(object_names, is_object_, "Each answer is a JSON object")->excludes(schema);
}

void ConstraintArguments::prepare(const Model& model) {
  if (!any_given()) return;
  const bool is_text = schema_.starts_with('{');
  const std::string schema = is_object_ || is_text ? schema_ : read_file(schema_);
  constraints_.emplace(model);
  try {
    first_ = is_object_ ? constraints_->json_object() : constraints_->json_schema(schema);
  } catch (const Error& error) {
    if (is_object_ || is_text) throw;
    throw Error(fmt::format("{}: {}", schema_, error.what()));
  }
}

std::unique_ptr<TokenConstraint> ConstraintArguments::make() const {
  return first_ == nullptr ? nullptr : first_->clone();
}

}  // namespace runnel::cli
