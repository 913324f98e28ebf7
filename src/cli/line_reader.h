// Lines from a person: with editing and history at a terminal, as they come from a pipe.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cli/signals.h"

namespace runnel::cli {

class LineReader {
 public:
  // `history` keeps the lines of earlier runs; its folder is made. Not being able to is no failure.
  LineReader(std::string prompt, std::filesystem::path history);
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  ~LineReader();

  // The next line without its newline; nullopt: the end, or a request to stop (at a terminal Ctrl-C
  // on an empty line; elsewhere it gives up the line).
  std::optional<std::string> next(const StopSignals& stop);
  bool is_interactive() const { return editor_ != nullptr; }

 private:
  class Editor;
  std::unique_ptr<Editor> editor_;  // null when standard input is not a terminal
  std::string read_;                // of other input, beyond the last line
};

// A file for `name` where programs keep their state: $XDG_STATE_HOME/runnel, or
// ~/.local/state/runnel. Empty when there is neither.
std::filesystem::path state_file(const std::string& name);

}  // namespace runnel::cli
