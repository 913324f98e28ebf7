// Signals as requests that the working loop looks at, so that it ends between two tokens: Ctrl-C
// (SIGINT) interrupts, SIGTERM and SIGHUP end the program.
#pragma once

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

  bool requested() const;           // either
  bool end_requested() const;       // SIGTERM or SIGHUP
  void forget_interrupt();          // ready for the next one; a request to end stays
  bool wait_to_read(int fd) const;  // true: a read will not block; false: a request came first

  // What the second signal writes to standard error before it ends the process: it puts the
  // terminal right. Borrowed; nullptr: nothing.
  static void set_last_words(const char* text);
};

}  // namespace runnel::cli
