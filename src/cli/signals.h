// Ctrl-C and SIGTERM as a request that the working loop looks at, so that it ends between two
// tokens.
#pragma once

namespace runnel::cli {

// While one lives, the first SIGINT or SIGTERM only sets the request; a second one ends the process
// at once. One at a time.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  bool requested() const;
  void forget();  // ready for the next request

  // What the second signal writes to standard error before it ends the process: it puts the
  // terminal right. Borrowed; nullptr: nothing.
  static void set_last_words(const char* text);
};

}  // namespace runnel::cli
