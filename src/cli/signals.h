// Signals as requests that the working loop looks at, so that it ends between two tokens: Ctrl-C
// (SIGINT) interrupts, SIGTERM and SIGHUP end the program.
#pragma once

#include <string>

#include "runnel/error.h"

namespace runnel::cli {

// While one lives, the first signal of a kind only sets the request; SIGINT or SIGTERM after a
// request to end, or a second SIGINT, ends the process at once. (A closing terminal and its shell
// both send SIGHUP, so that one never does; where it is ignored, under nohup, it stays so.) One at
// a time.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  bool requested() const;      // either
  bool end_requested() const;  // SIGTERM or SIGHUP
  void forget_interrupt();     // ready for the next one; a request to end stays
  int exit_code() const;       // 128 and the signal's number, as shells count; 0: none came
  // After a request: says on standard error that what follows is what was done so far, and leaves
  // exit_code() as that of the program (see unfinished_exit_code).
  void tell_unfinished() const;
  bool wait_to_read(int fd) const;  // true: a read will not block; false: a request came first

  // What the second signal writes to standard error before it ends the process: it puts the
  // terminal right. Borrowed; nullptr: nothing.
  static void set_last_words(const char* text);
};

// Of a program whose work ended without an error: 0, or what tell_unfinished() left.
int unfinished_exit_code();

// Work that was not finished because a signal asked to stop: the program's exit code says so.
class Stopped : public Error {
 public:
  explicit Stopped(const StopSignals& stop, const std::string& what_is_left = "");
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

}  // namespace runnel::cli
