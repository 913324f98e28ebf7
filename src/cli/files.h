// Files and the standard streams: whole reads, writes that replace a file at once
// (engine/replaced_file.h), output that notices when its reader has gone.
#pragma once

#include <string>
#include <string_view>

#include "engine/replaced_file.h"

namespace runnel::cli {

// The whole file, or standard input for "-". Error names the path.
std::string read_file(const std::string& path);

// All of it, also where the descriptor does not block: 0, or the errno of the first failure.
int write_all(int fd, std::string_view bytes);

// The text with control characters other than newline and tab, and bytes that are no UTF-8, as
// U+FFFD, so that it cannot drive a terminal.
std::string without_controls(std::string_view text);
// The same without newlines and tabs: for names in a table.
std::string one_line(std::string_view text);

// Standard output, unbuffered. A reader that has gone (`runnel ... | head`, a closed terminal) is
// no failure: write() returns false from then on. On a terminal, control characters other than
// newline and tab show as U+FFFD, so that no text can drive the terminal. Error: other failures, a
// full disk for one.
class Output {
 public:
  Output();
  bool write(std::string_view text);
  bool is_closed() const { return is_closed_; }
  bool is_terminal() const { return is_terminal_; }
  bool is_file() const;                             // a regular one
  bool ends_line() const { return last_ == '\n'; }  // nothing written, or a newline last

 private:
  bool is_terminal_;
  bool is_closed_ = false;
  char last_ = '\n';
};

// For text that is complete in memory.
inline void print_out(std::string_view text) { Output().write(text); }

}  // namespace runnel::cli
