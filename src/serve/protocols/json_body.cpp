#include "serve/protocols/json_body.h"

#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>

#include "base/json_depth.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

constexpr std::size_t kKeyDigits = 16;  // of an id

constexpr int kDeepest = 64;

const Json* find(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

[[noreturn]] void refuse_type(const char* name, const char* wanted, const Json& found) {
  throw RequestError({.code = "invalid_type",
                      .param = name,
                      .message = fmt::format(
                          "{}: want {}, found {}", name, wanted,
                          found.is_primitive() ? dump(found).substr(0, 80) : found.type_name())});
}

}  // namespace

Json parse_object(const std::string& body) {
  if (body.empty()) return Json::object();
  const auto check_depth = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kDeepest)
      refuse("", fmt::format("the body: want JSON nested at most {} deep", kDeepest));
    return true;
  };
  Json json;
  try {
    json = Json::parse(body, check_depth);
  } catch (const Json::exception& error) {
    throw RequestError(
        {.code = "invalid_json", .message = std::string("the body is not JSON: ") + error.what()});
  }
  if (!json.is_object()) {
    throw RequestError(
        {.code = "invalid_type",
         .message = std::string("the body: want an object, found ") + json.type_name()});
  }
  return json;
}

void refuse_missing_features(const Json& object, std::initializer_list<Missing> fields) {
  for (const auto& [field, why] : fields) {
    const Json* const value = find(object, field);
    if (value == nullptr || *value == false || *value == 0 || *value == "") continue;
    if (value->is_structured() && value->empty()) continue;
    throw RequestError({.code = "unsupported_parameter",
                        .param = field,
                        .message = fmt::format("{}: {}", field, why)});
  }
}

std::optional<std::string> text_field(const Json& object, const char* name) {
  const Json* const value = find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_type(name, "a string", *value);
  return value->get<std::string>();
}

std::optional<bool> bool_field(const Json& object, const char* name) {
  const Json* const value = find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse_type(name, "true or false", *value);
  return value->get<bool>();
}

std::optional<double> number_field(const Json& object, const char* name, double low, double high) {
  const Json* const value = find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse_type(name, "a number", *value);
  const double number = value->get<double>();
  if (!(number >= low && number <= high))
    refuse(name, fmt::format("{}: want {} to {}, found {}", name, low, high, number));
  return number;
}

std::optional<std::int64_t> whole_field(const Json& object, const char* name, std::int64_t low,
                                        std::int64_t high) {
  const Json* const value = find(object, name);
  if (value == nullptr) return std::nullopt;
  const bool is_whole =
      value->is_number_integer() ||
      (value->is_number_float() && std::trunc(value->get<double>()) == value->get<double>());
  if (!is_whole) refuse_type(name, "a whole number", *value);
  const double number = value->get<double>();
  if (number < static_cast<double>(low) || number > static_cast<double>(high))
    refuse(name, fmt::format("{}: want {} to {}, found {}", name, low, high, dump(*value)));
  return value->is_number_integer() ? value->get<std::int64_t>()
                                    : static_cast<std::int64_t>(number);
}

std::vector<std::string> texts_field(const Json& object, const char* name) {
  const Json* const value = find(object, name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array()) refuse_type(name, "a string or a list of strings", *value);
  std::vector<std::string> texts;
  for (const Json& item : *value) {
    if (!item.is_string()) refuse_type(name, "strings in the list", item);
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

void read_sampling(const Json& object, AnswerOptions& options) {
  SamplingOptions& s = options.sampling;
  const auto read = [&](const char* name, double low, double high, float& value) {
    if (const auto given = number_field(object, name, low, high))
      value = static_cast<float>(*given);
  };
  read("temperature", 0, 2, s.temperature);
  read("top_p", 0, 1, s.top_p);
  if (s.top_p <= 0) s.top_p = 1e-6f;  // the likeliest alone
  read("min_p", 0, 1, s.min_p);
  read("frequency_penalty", -2, 2, s.frequency_penalty);
  read("presence_penalty", -2, 2, s.presence_penalty);
  read("repetition_penalty", 0.01, 100, s.repetition_penalty);
  if (const auto top_k = whole_field(object, "top_k", -1, 1 << 30))
    s.top_k = static_cast<int>(std::max<std::int64_t>(0, *top_k));
  if (const auto seed = whole_field(object, "seed", INT64_MIN, INT64_MAX))
    options.seed = static_cast<std::uint64_t>(*seed);
}

std::string content_text(const Json& content, const std::string& where) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array())
    refuse(where, fmt::format("{}: want a string or a list of parts, found {}", where,
                              content.type_name()));
  std::string text;
  for (const Json& part : content) {
    if (part.is_string()) {
      text += part.get<std::string>();
      continue;
    }
    const std::string type = part.is_object() ? text_field(part, "type").value_or("text") : "";
    const bool is_text = type == "text" || type == "input_text" || type == "output_text";
    if (!is_text)
      refuse(where, fmt::format("{}: this model reads text; a part of type \"{}\" it cannot read",
                                where, type.empty() ? part.type_name() : type));
    text += text_field(part, "text").value_or("");
  }
  return text;
}

Json arguments_object(const ToolCall& call) {
  if (is_nested_deeper(call.arguments)) return nullptr;
  Json arguments = Json::parse(call.arguments.empty() ? "{}" : call.arguments, nullptr, false);
  return arguments.is_object() ? std::move(arguments) : Json();
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void send_json(const ReplyPtr& reply, const Json& body) {
  reply->send(200, "application/json", dump(body));
}

std::string server_event(const std::string& name, const Json& data) {
  return (name.empty() ? "" : "event: " + name + "\n") + "data: " + dump(data) + "\n\n";
}

Json place_json(const Place& place) {
  return {{"position", place.position},
          {"evicted", place.evicted},
          {"horizon", place.horizon},
          {"pinned", place.pinned},
          {"window", place.window}};
}

std::string random_id(const char* prefix, const std::string& key) {
  static std::mutex mutex;
  static std::random_device device;
  const std::lock_guard lock(mutex);
  const auto half = [] { return fmt::format("{:08x}{:08x}", device(), device()); };
  return prefix + (key.empty() ? half() : key) + half();
}

std::string key_of(const Request& request, const std::string& id) {
  const std::size_t begin = id.find('_');
  const std::string key = begin == std::string::npos ? request.header("x-runnel-key")
                                                     : id.substr(begin + 1, kKeyDigits);
  const bool is_key =
      key.size() == kKeyDigits && key.find_first_not_of("0123456789abcdef") == std::string::npos;
  return is_key ? key : "";
}

std::int64_t unix_seconds() { return std::time(nullptr); }

}  // namespace runnel::serve
