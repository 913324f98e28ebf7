// JSON Schema as a grammar over bytes. Every text of the grammar is a document that the schema
// accepts; not every such document is a text of the grammar (properties come in the schema's order,
// no others than those named unless additionalProperties says so, white space is short).
#pragma once

#include <string_view>

#include "grammar/grammar.h"

namespace runnel {

// The rule of a document. Error: what is no schema, or a keyword that is not supported, by name and
// place ("#/properties/a: pattern is not supported").
Grammar::Rule json_schema_rule(Grammar& grammar, std::string_view schema);
Grammar::Rule json_object_rule(Grammar& grammar);

}  // namespace runnel
