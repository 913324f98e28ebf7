// The JSON object of a call, character by character: its name, and its arguments as they come.
#pragma once

#include <string>
#include <vector>

#include "runnel/answer.h"

namespace runnel {

inline bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

class CallScanner {
 public:
  enum class Progress { kGoing, kDone, kNoCall };

  explicit CallScanner(int index) : index_(index) {}

  // Events are appended. kNoCall: the object is none of a call; raw() is what was read.
  Progress push(char c, std::vector<AnswerEvent>& events);
  // Arguments read since the last flush.
  void flush(std::vector<AnswerEvent>& events);
  bool has_begun() const { return has_begun_; }
  int depth() const { return depth_; }  // of brackets that are open
  const std::string& raw() const { return raw_; }

 private:
  enum class Place { kBefore, kKey, kColon, kValue, kBehind };
  Progress at_level_one(char c, std::vector<AnswerEvent>& events);
  void keep(char c);
  void end_value(std::vector<AnswerEvent>& events);
  void begin_call(std::vector<AnswerEvent>& events);

  int index_;
  std::string raw_;        // until the call has begun
  std::string key_;        // the present one at the first level
  std::string value_;      // of name or id
  std::string arguments_;  // not passed on yet
  std::string name_, id_;
  Place place_ = Place::kBefore;
  int depth_ = 0;  // of brackets
  bool is_string_ = false, is_escaped_ = false;
  bool keeps_value_ = false;
  bool is_argument_ = false;
  bool is_text_ = false;        // the arguments are a string that holds the JSON
  bool has_arguments_ = false;  // some were passed on
  bool has_begun_ = false;
};

}  // namespace runnel
