#include "grammar/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/json_depth.h"
#include "grammar/json_texts.h"
#include "runnel/error.h"

namespace runnel {
namespace {

using Json = nlohmann::ordered_json;
using Part = Grammar::Part;
using Sequence = Grammar::Sequence;

constexpr std::size_t kLargestSchema = 1 << 20;  // bytes
constexpr int kDeepestSchema = 64;
constexpr int kLargestCount = 10'000;  // of elements or characters that a schema asks for

// Keywords that say nothing about what is accepted.
const std::set<std::string_view> kNotes = {
    "title",    "description", "default", "examples", "example",   "$schema",     "$id",
    "$comment", "deprecated",  "$defs",   "readOnly", "writeOnly", "definitions", "strict"};
// Keywords of JSON Schema that restrict, by the type whose form they are checked with.
const std::map<std::string_view, std::string_view> kKeywords = {
    {"properties", "object"},        {"required", "object"},  {"additionalProperties", "object"},
    {"minLength", "string"},         {"maxLength", "string"}, {"format", "string"},
    {"minimum", "integer"},          {"maximum", "integer"},  {"exclusiveMinimum", "integer"},
    {"exclusiveMaximum", "integer"}, {"items", "array"},      {"prefixItems", "array"},
    {"minItems", "array"},           {"maxItems", "array"}};
const std::set<std::string_view> kRefused = {"pattern",
                                             "multipleOf",
                                             "uniqueItems",
                                             "contains",
                                             "minContains",
                                             "maxContains",
                                             "minProperties",
                                             "maxProperties",
                                             "patternProperties",
                                             "propertyNames",
                                             "dependentRequired",
                                             "dependentSchemas",
                                             "dependencies",
                                             "not",
                                             "if",
                                             "then",
                                             "else",
                                             "allOf",
                                             "$dynamicRef",
                                             "$recursiveRef",
                                             "unevaluatedItems",
                                             "unevaluatedProperties",
                                             "additionalItems",
                                             "contentEncoding"};

class Compiler {
 public:
  Compiler(Grammar& grammar, const Json& root) : grammar_(grammar), texts_(grammar), root_(root) {}

  Part compile(const Json& schema, const std::string& at);
  Part any_object() const { return texts_.any_object(); }

 private:
  [[noreturn]] static void fail(const std::string& at, std::string_view what) {
    throw Error(fmt::format("JSON schema, {}: {}", at, what));
  }
  Part compile_new(const Json& schema, const std::string& at);
  Part compile_type(const Json& schema, const std::string& type, const std::string& at);
  Part compile_ref(const Json& schema, const std::string& at);
  Part compile_choice(const Json& schema, const std::string& keyword, const std::string& at);
  Part compile_values(const Json& values, const Json& schema, const std::string& at);
  Part compile_object(const Json& schema, const std::string& at);
  Part compile_array(const Json& schema, const std::string& at);
  Part compile_string(const Json& schema, const std::string& at);
  Part compile_integer(const Json& schema, const std::string& at);
  Part literal(const Json& value);
  static void check_keywords(const Json& schema, const std::string& at);
  static void want_only(const Json& schema, std::string_view keyword, const std::string& at);
  static std::vector<std::string> types(const Json& schema, const std::string& at);
  static int count(const Json& schema, const char* keyword, int otherwise, const std::string& at);
  static std::optional<std::int64_t> bound(const Json& schema, const char* keyword, bool rounds_up,
                                           const std::string& at);
  const Json& resolve(const std::string& ref, const std::string& at) const;
  bool are_apart(const Json& a, const Json& b, const std::string& at) const;

  Grammar& grammar_;
  JsonTexts texts_;
  const Json& root_;
  std::map<std::string, Grammar::Rule> refs_;
  int depth_ = 0;
};

Part Compiler::compile(const Json& schema, const std::string& at) {
  if (++depth_ > kDeepestSchema) fail(at, fmt::format("want at most {} levels", kDeepestSchema));
  const Part part = compile_new(schema, at);
  --depth_;
  return part;
}

Part Compiler::compile_new(const Json& schema, const std::string& at) {
  if (schema.is_boolean()) {
    if (!schema.get<bool>()) fail(at, "false accepts nothing");
    return texts_.any();
  }
  if (!schema.is_object()) fail(at, "want an object, true or false");
  check_keywords(schema, at);
  if (schema.contains("$ref")) return compile_ref(schema, at);
  if (schema.contains("const")) return compile_values(Json::array({schema["const"]}), schema, at);
  if (schema.contains("enum")) return compile_values(schema["enum"], schema, at);
  for (const char* keyword : {"anyOf", "oneOf"}) {
    if (schema.contains(keyword)) return compile_choice(schema, keyword, at);
  }
  std::vector<Sequence> ways;
  for (const std::string& type : types(schema, at))
    ways.push_back({compile_type(schema, type, at)});
  return ways.size() == 1 ? ways[0][0] : grammar_.rule(grammar_.choice(ways));
}

void Compiler::check_keywords(const Json& schema, const std::string& at) {
  for (const auto& [name, value] : schema.items()) {
    const bool says_nothing = name == "uniqueItems" && value == false;
    if (kRefused.contains(name) && !says_nothing) fail(at, name + " is not supported");
  }
}

// Keywords beside one that decides alone would restrict it further.
void Compiler::want_only(const Json& schema, std::string_view keyword, const std::string& at) {
  for (const auto& [name, value] : schema.items()) {
    const bool restricts = kKeywords.contains(name) || name == "anyOf" || name == "oneOf" ||
                           name == "enum" || name == "const" || name == "$ref" || name == "type";
    if (restricts && name != keyword)
      fail(at, fmt::format("{} beside {} is not supported", name, keyword));
  }
}

std::vector<std::string> Compiler::types(const Json& schema, const std::string& at) {
  static const std::array<const char*, 7> kJsonTypes = {"object", "array",   "string", "integer",
                                                        "number", "boolean", "null"};
  std::vector<std::string> types;
  const auto add = [&](const Json& type) {
    if (!type.is_string() || std::find(kJsonTypes.begin(), kJsonTypes.end(),
                                       type.get<std::string>()) == kJsonTypes.end())
      fail(at, "type: want the name of one of JSON's types");
    types.push_back(type.get<std::string>());
  };
  if (!schema.contains("type")) {
    // What is restricted by keywords of one type is taken to be of it; nothing else is any value.
    for (const auto& [name, value] : schema.items()) {
      const auto known = kKeywords.find(name);
      if (known == kKeywords.end()) continue;
      const std::string type(known->second);
      if (std::find(types.begin(), types.end(), type) == types.end()) types.push_back(type);
    }
    if (types.empty()) types.emplace_back("any");
    return types;
  }
  if (!schema["type"].is_array()) {
    add(schema["type"]);
    return types;
  }
  for (const Json& type : schema["type"]) add(type);
  if (types.empty()) fail(at, "type: want at least one");
  return types;
}

Part Compiler::compile_type(const Json& schema, const std::string& type, const std::string& at) {
  if (type == "any") return texts_.any();
  if (type == "object") return compile_object(schema, at);
  if (type == "array") return compile_array(schema, at);
  if (type == "string") return compile_string(schema, at);
  if (type == "integer") return compile_integer(schema, at);
  if (type == "number") {
    for (const auto& [name, value] : schema.items()) {
      const auto known = kKeywords.find(name);
      if (known != kKeywords.end() && known->second == "integer") {
        fail(at, name + " of a number that need not be whole is not supported");
      }
    }
    return texts_.number();
  }
  if (type == "null") return literal(nullptr);
  return grammar_.rule(grammar_.choice({grammar_.literal("true"), grammar_.literal("false")}));
}

const Json& Compiler::resolve(const std::string& ref, const std::string& at) const {
  if (ref != "#" && !ref.starts_with("#/"))
    fail(at, "$ref: want one within the schema, found " + ref);
  try {
    return root_.at(Json::json_pointer(ref.substr(1)));
  } catch (const Json::exception&) {
    fail(at, "$ref: nothing is at " + ref);
  }
}

Part Compiler::compile_ref(const Json& schema, const std::string& at) {
  want_only(schema, "$ref", at);
  if (!schema["$ref"].is_string()) fail(at, "$ref: want a text");
  const std::string ref = schema["$ref"].get<std::string>();
  const auto known = refs_.find(ref);
  if (known != refs_.end()) return grammar_.rule(known->second);
  const Json& target = resolve(ref, at);
  if (target.is_object() && target.contains("$ref")) fail(at, "$ref to a $ref is not supported");
  const Grammar::Rule rule = grammar_.declare();
  refs_[ref] = rule;  // before its inside, which may come back to it
  grammar_.add(rule, {compile(target, ref)});
  return grammar_.rule(rule);
}

// Whether no document can be accepted by both.
bool Compiler::are_apart(const Json& a, const Json& b, const std::string& at) const {
  const auto target = [&](const Json& schema) -> const Json& {
    const bool is_ref = schema.is_object() && schema.contains("$ref") && schema["$ref"].is_string();
    return is_ref ? resolve(schema["$ref"].get<std::string>(), at) : schema;
  };
  const Json& first = target(a);
  const Json& second = target(b);
  if (!first.is_object() || !second.is_object()) return false;
  const auto values = [](const Json& schema) {
    if (schema.contains("const")) return Json::array({schema["const"]});
    return schema.contains("enum") && schema["enum"].is_array() ? schema["enum"] : Json();
  };
  const Json own = values(first), other = values(second);
  if (!own.is_null() && !other.is_null()) {
    return std::none_of(own.begin(), own.end(), [&](const Json& value) {
      return std::find(other.begin(), other.end(), value) != other.end();
    });
  }
  if (first.contains("type") && second.contains("type")) {
    const std::vector<std::string> t = types(first, at), u = types(second, at);
    const auto meets = [&](const std::string& type) {
      return std::any_of(u.begin(), u.end(), [&](const std::string& o) {
        return o == type || (o == "number" && type == "integer") ||
               (o == "integer" && type == "number");
      });
    };
    if (std::none_of(t.begin(), t.end(), meets)) return true;
  }
  const auto requires_property = [](const Json& schema, const std::string& name) {
    return schema.contains("required") && schema["required"].is_array() &&
           std::find(schema["required"].begin(), schema["required"].end(), name) !=
               schema["required"].end();
  };
  if (!first.contains("properties") || !second.contains("properties")) return false;
  for (const auto& [name, property] : first["properties"].items()) {
    if (!second["properties"].contains(name)) continue;
    const bool is_required = requires_property(first, name) && requires_property(second, name);
    const Json p = property.is_object() ? values(property) : Json();
    if (is_required && !p.is_null() && are_apart(property, second["properties"][name], at))
      return true;
  }
  return false;
}

Part Compiler::compile_choice(const Json& schema, const std::string& keyword,
                              const std::string& at) {
  want_only(schema, keyword, at);
  const Json& ways = schema[keyword];
  if (!ways.is_array() || ways.empty()) fail(at, keyword + ": want a list");
  if (keyword == "oneOf") {
    for (std::size_t i = 0; i < ways.size(); ++i) {
      for (std::size_t j = i + 1; j < ways.size(); ++j) {
        if (!are_apart(ways[i], ways[j], at)) {
          fail(at, "oneOf whose cases may hold at once is not supported");
        }
      }
    }
  }
  std::vector<Sequence> sequences;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    sequences.push_back({compile(ways[i], fmt::format("{}/{}/{}", at, keyword, i))});
  }
  return grammar_.rule(grammar_.choice(sequences));
}

Part Compiler::literal(const Json& value) {
  return grammar_.rule(grammar_.choice({grammar_.literal(value.dump())}));
}

Part Compiler::compile_values(const Json& values, const Json& schema, const std::string& at) {
  if (!values.is_array() || values.empty()) fail(at, "enum: want a list of values");
  const std::vector<std::string> wanted =
      schema.contains("type") ? types(schema, at) : std::vector<std::string>();
  const auto fits = [&](const Json& value) {
    return wanted.empty() ||
           std::any_of(wanted.begin(), wanted.end(), [&](const std::string& type) {
             return type == value.type_name() || (value.is_number() && type == "number") ||
                    (value.is_number_integer() && type == "integer");
           });
  };
  for (const auto& [name, value] : schema.items()) {
    if (kKeywords.contains(name) || name == "anyOf" || name == "oneOf") {
      fail(at, name + " beside enum or const is not supported");
    }
  }
  std::vector<Sequence> ways;
  for (const Json& value : values) {
    if (fits(value)) ways.push_back({literal(value)});
  }
  if (ways.empty()) fail(at, "enum: none of the values is of the type");
  return grammar_.rule(grammar_.choice(ways));
}

int Compiler::count(const Json& schema, const char* keyword, int otherwise, const std::string& at) {
  if (!schema.contains(keyword)) return otherwise;
  const Json& value = schema[keyword];
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0 ||
      value.get<std::int64_t>() > kLargestCount) {
    fail(at, fmt::format("{}: want 0 to {}", keyword, kLargestCount));
  }
  return value.get<int>();
}

Part Compiler::compile_string(const Json& schema, const std::string& at) {
  const int least = count(schema, "minLength", 0, at), most = count(schema, "maxLength", -1, at);
  if (!schema.contains("format")) {
    if (most >= 0 && most < least) fail(at, "maxLength is less than minLength");
    return texts_.string_of(least, most);
  }
  if (least > 0 || most >= 0) fail(at, "minLength and maxLength beside format are not supported");
  const std::string format =
      schema["format"].is_string() ? schema["format"].get<std::string>() : "";
  const auto part = texts_.string_of_format(format);
  if (!part) fail(at, "format: want date, time, date-time or uuid, found " + format);
  return *part;
}

std::optional<std::int64_t> Compiler::bound(const Json& schema, const char* keyword, bool rounds_up,
                                            const std::string& at) {
  if (!schema.contains(keyword)) return std::nullopt;
  const Json& value = schema[keyword];
  if (!value.is_number() || std::abs(value.get<double>()) > 1e18) {
    fail(at, fmt::format("{}: want a number of at most 1e18", keyword));
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  return static_cast<std::int64_t>(rounds_up ? std::ceil(value.get<double>())
                                             : std::floor(value.get<double>()));
}

Part Compiler::compile_integer(const Json& schema, const std::string& at) {
  std::optional<std::int64_t> least = bound(schema, "minimum", true, at);
  std::optional<std::int64_t> most = bound(schema, "maximum", false, at);
  // Above 2.5 begins at 3, above 2 as well.
  if (const auto above = bound(schema, "exclusiveMinimum", false, at))
    least = std::max(least.value_or(*above + 1), *above + 1);
  if (const auto below = bound(schema, "exclusiveMaximum", true, at))
    most = std::min(most.value_or(*below - 1), *below - 1);
  if (least && most && *least > *most) fail(at, "no whole number is within its bounds");
  return texts_.integer_between(least, most);
}

Part Compiler::compile_array(const Json& schema, const std::string& at) {
  Grammar& g = grammar_;
  const int least = count(schema, "minItems", 0, at), most = count(schema, "maxItems", -1, at);
  if (most >= 0 && most < least) fail(at, "maxItems is less than minItems");
  const bool is_closed = schema.contains("items") && schema["items"] == false;
  const Json any = true;
  if (!schema.contains("prefixItems")) {
    if (is_closed) return literal(Json::array());
    const Part value = compile(schema.contains("items") ? schema["items"] : any, at + "/items");
    return texts_.array_of(value, least, most);
  }
  const Json& first = schema["prefixItems"];
  if (!first.is_array() || first.empty()) fail(at, "prefixItems: want a list of schemas");
  const auto n = static_cast<int>(first.size());
  if (least > 0 && least != n)
    fail(at, "minItems other than the number of prefixItems is not supported");
  if (most >= 0 && most < n)
    fail(at, "maxItems less than the number of prefixItems is not supported");
  Sequence all = {g.byte('['), texts_.space()};
  for (int i = 0; i < n; ++i) {
    if (i > 0) all.insert(all.end(), {g.byte(','), texts_.space()});
    all.push_back(
        compile(first[static_cast<std::size_t>(i)], fmt::format("{}/prefixItems/{}", at, i)));
  }
  if (!is_closed && schema.contains("items") && most != n) {
    const Part value = compile(schema["items"], at + "/items");
    all.push_back(
        g.rule(g.repeat({g.byte(','), texts_.space(), value}, 0, most < 0 ? -1 : most - n)));
  }
  all.insert(all.end(), {texts_.space(), g.byte(']')});
  return g.rule(g.choice({all}));
}

// The properties in order; tail[i] is what may come from property i on, once for the first one and
// once for those behind a comma.
Part Compiler::compile_object(const Json& schema, const std::string& at) {
  Grammar& g = grammar_;
  const Json& properties = schema.contains("properties") ? schema["properties"] : Json::object();
  if (!properties.is_object()) fail(at, "properties: want an object");
  std::set<std::string> required;
  if (schema.contains("required")) {
    if (!schema["required"].is_array()) fail(at, "required: want a list of names");
    for (const Json& name : schema["required"]) {
      if (!name.is_string()) fail(at, "required: want a list of names");
      if (!properties.contains(name.get<std::string>())) {
        fail(at, fmt::format("required: {} is not among the properties", name.get<std::string>()));
      }
      required.insert(name.get<std::string>());
    }
  }
  if (properties.empty()) {
    const Json any = true;
    const Json& more =
        schema.contains("additionalProperties") ? schema["additionalProperties"] : any;
    if (more == false) return literal(Json::object());
    return texts_.object_of(compile(more, at + "/additionalProperties"));
  }
  struct Property {
    Sequence member;
    bool is_required;
  };
  std::vector<Property> members;
  for (const auto& [name, property] : properties.items()) {
    Sequence member = g.literal(Json(name).dump());
    member.insert(member.end(), {g.byte(':'), texts_.gap()});
    member.push_back(compile(property, fmt::format("{}/properties/{}", at, name)));
    members.push_back({std::move(member), required.contains(name)});
  }
  Part first_tail = g.rule(g.choice({{g.byte('}')}}));
  Part later_tail = g.rule(g.choice({{texts_.space(), g.byte('}')}}));
  for (auto property = members.rbegin(); property != members.rend(); ++property) {
    Sequence first = {texts_.space()}, later = {g.byte(','), texts_.space()};
    for (Sequence* way : {&first, &later}) {
      way->insert(way->end(), property->member.begin(), property->member.end());
      way->push_back(later_tail);
    }
    std::vector<Sequence> first_ways = {first}, later_ways = {later};
    if (!property->is_required) {
      first_ways.push_back({first_tail});
      later_ways.push_back({later_tail});
    }
    first_tail = g.rule(g.choice(first_ways));
    later_tail = g.rule(g.choice(later_ways));
  }
  return g.rule(g.choice({{g.byte('{'), first_tail}}));
}

}  // namespace

Grammar::Rule json_schema_rule(Grammar& grammar, std::string_view schema) {
  if (schema.size() > kLargestSchema) {
    throw Error(fmt::format("JSON schema: want at most {} bytes", kLargestSchema));
  }
  if (is_nested_deeper(schema, 4 * kDeepestSchema)) throw Error("JSON schema: nested too deeply");
  Json root;
  try {
    root = Json::parse(schema);
  } catch (const Json::exception& error) {
    throw Error(fmt::format("JSON schema: {}", error.what()));
  }
  return Compiler(grammar, root).compile(root, "#").index;
}

Grammar::Rule json_object_rule(Grammar& grammar) { return JsonTexts(grammar).any_object().index; }

}  // namespace runnel
