// What a person at a terminal sees beside the text: one status line, a little colour.
#pragma once

#include <string>
#include <string_view>

#include "cli/numbers.h"

namespace runnel::cli {

bool stderr_is_terminal();

// Text for standard error, dim or bold when it is a terminal that wants colours (NO_COLOR,
// TERM=dumb do not). Controls in the text itself show as U+FFFD.
std::string dim(std::string_view text);
std::string bold(std::string_view text);

// A line on standard error. That a terminal has gone must not end the work, so failures are passed
// over.
void tell(std::string_view line);
// "runnel: ..." there; `what` may repeat words of a file.
void complain(std::string_view what);

// One line on standard error that is repainted in place; nothing at all when that is not a
// terminal. When the text on standard output goes to a terminal as well, the line lies on the
// bottom row and the text scrolls above it, so neither tears the other. The destructor gives the
// row back.
class StatusLine {
 public:
  explicit StatusLine(bool is_wanted = true);
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  ~StatusLine();

  bool is_due() const;  // on, and the last painting is old enough: worth building the text
  void show(std::string_view text);
  void close();

 private:
  enum class Place { kNowhere, kOwnLine, kBottomRow };
  void reserve_bottom_row();
  void release_bottom_row();

  Place place_ = Place::kNowhere;
  int rows_ = 0;
  int columns_ = 0;
  bool is_painted_ = false;
  Stopwatch since_paint_;
};

// Events a second, smoothed over the last few readings.
class RateMeter {
 public:
  double update(double count);  // the count so far

 private:
  Stopwatch since_reading_;
  double last_count_ = 0;
  double rate_ = 0;
};

// "[#######-------------]  35 %"
std::string progress_bar(double share);

}  // namespace runnel::cli
