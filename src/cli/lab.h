// What the laboratory's commands share: texts as one stream, the folder for results, a progress bar
// with the time left, and how a result is shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/numbers.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "eval/progress.h"
#include "eval/section.h"
#include "runnel/runnel.h"

namespace CLI {
class App;
}

namespace runnel::cli {

// TEXT..., --limit, -o and --json.
class LabArguments {
 public:
  // `default_limit`: tokens of the texts; 0: all.
  void add_to(CLI::App& app, std::int64_t default_limit);

  // The texts joined, with BOS at the very beginning where the model has one. Error: a file cannot
  // be read, or holds nothing.
  std::vector<Token> tokens(const Model& model) const;
  std::string text() const;
  const std::string& folder() const { return folder_; }
  bool is_json() const { return is_json_; }

  // The section on standard output; where its files are on standard error.
  void show(const eval::Section& section) const;

 private:
  std::vector<std::string> paths_;
  std::int64_t limit_ = 0;
  std::string folder_;
  bool is_json_ = false;
};

// --sinks, --window, --kv-type and --softmax, for commands that choose the policy themselves.
class CacheArguments {
 public:
  void add_to(CLI::App& app, const char* window_help);
  StreamOptions options() const;
  std::optional<std::int64_t> window() const { return window_; }

 private:
  int sinks_ = 4;
  std::optional<std::int64_t> window_;
  std::string kv_type_ = "f16";
  std::string softmax_;  // empty: the model's
};

// The status line of a long experiment, and Ctrl-C as the request to end it with what is done.
class LabProgress {
 public:
  eval::Progress callback(std::string label);
  bool is_stopped() const { return stop_.requested(); }
  // Gives the line back and says so when the experiment was stopped.
  void finish();

 private:
  StopSignals stop_;
  StatusLine status_;
  Stopwatch watch_;
};

// "64,128": numbers between commas, of `least` to 2^24. CLI::ValidationError names the option.
std::vector<std::int64_t> number_list(const std::string& text, const std::string& option,
                                      std::int64_t least = 1);

}  // namespace runnel::cli
