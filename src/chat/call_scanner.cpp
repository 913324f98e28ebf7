#include "chat/call_scanner.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace runnel {
namespace {

using Kind = AnswerEvent::Kind;

bool is_call_key(std::string_view key) {
  constexpr std::array<std::string_view, 6> kKeys = {"name", "arguments", "parameters",
                                                     "id",   "type",      "function"};
  for (const std::string_view known : kKeys) {
    if (key == known) return true;
  }
  return false;
}

// What a JSON string literal stands for; itself where it is none.
std::string unquoted(const std::string& literal) {
  const nlohmann::json value = nlohmann::json::parse(literal, nullptr, false);
  return value.is_string() ? value.get<std::string>() : literal;
}

}  // namespace

CallScanner::Progress CallScanner::push(char c, std::vector<AnswerEvent>& events) {
  if (!has_begun_) raw_ += c;
  if (place_ == Place::kBefore) {
    if (is_space(c)) return Progress::kGoing;
    if (c != '{') return Progress::kNoCall;
    depth_ = 1;
    place_ = Place::kBehind;
    return Progress::kGoing;
  }
  if (is_string_) {
    if (place_ == Place::kKey && !(c == '"' && !is_escaped_)) key_ += c;
    if (place_ == Place::kValue) keep(c);
    if (is_escaped_) {
      is_escaped_ = false;
    } else if (c == '\\') {
      is_escaped_ = true;
    } else if (c == '"') {
      is_string_ = false;
      if (place_ == Place::kKey) {
        place_ = Place::kColon;
        if (!is_call_key(key_)) return Progress::kNoCall;
      }
    }
    return Progress::kGoing;
  }
  if (depth_ == 1) return at_level_one(c, events);
  if (c == '"') is_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  if (c == '}' || c == ']') --depth_;
  keep(c);
  return Progress::kGoing;
}

CallScanner::Progress CallScanner::at_level_one(char c, std::vector<AnswerEvent>& events) {
  if (place_ == Place::kValue) {
    if (c != ',' && c != '}') {
      if (!is_space(c)) keep(c);
      if (c == '"') is_string_ = true;
      if (c == '{' || c == '[') ++depth_;
      return c == ']' ? Progress::kNoCall : Progress::kGoing;
    }
    end_value(events);
    place_ = Place::kBehind;
  }
  if (is_space(c) || (c == ',' && place_ == Place::kBehind)) return Progress::kGoing;
  if (c == '}' && place_ == Place::kBehind) {
    if (name_.empty()) return Progress::kNoCall;
    if (arguments_.empty() && !has_arguments_) arguments_ = "{}";
    flush(events);
    return Progress::kDone;
  }
  if (c == '"' && place_ == Place::kBehind) {
    place_ = Place::kKey;
    key_.clear();
    is_string_ = true;
    return Progress::kGoing;
  }
  if (c == ':' && place_ == Place::kColon) {
    place_ = Place::kValue;
    is_argument_ = key_ == "arguments" || key_ == "parameters";
    keeps_value_ = key_ == "name" || key_ == "id";
    return Progress::kGoing;
  }
  return Progress::kNoCall;
}

void CallScanner::keep(char c) {
  if (is_argument_) {
    if (arguments_.empty() && !has_arguments_) is_text_ = c == '"';
    arguments_ += c;
  } else if (keeps_value_) {
    value_ += c;
  }
}

void CallScanner::end_value(std::vector<AnswerEvent>& events) {
  if (key_ == "name") name_ = unquoted(value_);
  if (key_ == "id") id_ = unquoted(value_);
  value_.clear();
  if (is_argument_ && is_text_) arguments_ = unquoted(arguments_);
  is_argument_ = keeps_value_ = is_text_ = false;
  flush(events);
}

void CallScanner::begin_call(std::vector<AnswerEvent>& events) {
  if (std::exchange(has_begun_, true)) return;
  raw_.clear();
  events.push_back({.kind = Kind::kCallBegin, .index = index_, .id = id_, .name = name_});
}

// Arguments that are a string wait for its end.
void CallScanner::flush(std::vector<AnswerEvent>& events) {
  if (name_.empty() || arguments_.empty() || is_text_) return;
  begin_call(events);
  has_arguments_ = true;
  events.push_back(
      {.kind = Kind::kCallArguments, .text = std::exchange(arguments_, {}), .index = index_});
}

}  // namespace runnel
