#include "cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "cli/files.h"
#include "cli/signals.h"

namespace runnel::cli {
namespace {

constexpr double kSecondsBetweenPaints = 0.1;

// Between saving the cursor and putting it back (ESC 7, ESC 8), because it moves the cursor: the
// whole screen scrolls again.
constexpr const char* kWholeScreenScrolls =
    "\x1b"
    "7\x1b[r\x1b"
    "8";

bool has_controls() {
  const char* term = std::getenv("TERM");
  return stderr_is_terminal() && term != nullptr && std::string_view(term) != "dumb";
}

bool wants_colour() {
  const char* no_color = std::getenv("NO_COLOR");
  return has_controls() && (no_color == nullptr || *no_color == '\0');
}

std::string styled(const char* code, std::string_view text) {
  const std::string safe = without_controls(text);
  return wants_colour() ? fmt::format("\x1b[{}m{}\x1b[0m", code, safe) : safe;
}

void put(std::string_view text) { write_all(STDERR_FILENO, text); }

// The first `columns` characters of UTF-8 text.
std::string_view clipped(std::string_view text, int columns) {
  std::size_t end = 0;
  for (int n = 0; end < text.size(); ++end) {
    const bool starts_character = (static_cast<unsigned char>(text[end]) & 0xc0) != 0x80;
    if (starts_character && ++n > columns) break;
  }
  return text.substr(0, end);
}

winsize terminal_size() {
  winsize size{};
  ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
  return size;
}

}  // namespace

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }
std::string dim(std::string_view text) { return styled("2", text); }
std::string bold(std::string_view text) { return styled("1", text); }
void tell(std::string_view line) { put(fmt::format("{}\n", line)); }
void complain(std::string_view what) { tell(fmt::format("runnel: {}", without_controls(what))); }

StatusLine::StatusLine(bool is_wanted) {
  if (!is_wanted || !has_controls()) return;
  place_ = ::isatty(STDOUT_FILENO) == 1 ? Place::kBottomRow : Place::kOwnLine;
}

StatusLine::~StatusLine() { close(); }

bool StatusLine::is_due() const {
  return place_ != Place::kNowhere &&
         (!is_painted_ || since_paint_.seconds() >= kSecondsBetweenPaints);
}

void StatusLine::show(std::string_view text) {
  if (place_ == Place::kNowhere) return;
  const winsize size = terminal_size();
  const bool is_resized = size.ws_row != rows_ || size.ws_col != columns_;
  rows_ = size.ws_row;
  columns_ = size.ws_col;
  if (rows_ < 3 || columns_ < 10) return;
  if (place_ == Place::kBottomRow && is_resized) reserve_bottom_row();
  const std::string line = dim(clipped(text, columns_ - 1));
  if (place_ == Place::kBottomRow) {
    put(
        fmt::format("\x1b"
                    "7\x1b[{};1H\x1b[2K{}\x1b"
                    "8",
                    rows_, line));
  } else {
    put(fmt::format("\r\x1b[2K{}", line));
  }
  is_painted_ = true;
  since_paint_ = Stopwatch();
}

void StatusLine::close() {
  if (is_painted_) {
    if (place_ == Place::kBottomRow)
      release_bottom_row();
    else
      put("\r\x1b[2K");
  }
  is_painted_ = false;
  rows_ = 0;
  columns_ = 0;
}

// Whole screen scrolls; one row of room below the cursor (ESC D keeps its column); then only the
// rows above the last one scroll. Setting the region moves the cursor, hence save and restore (ESC
// 7, ESC 8).
void StatusLine::reserve_bottom_row() {
  StopSignals::set_last_words(kWholeScreenScrolls);
  put(
      fmt::format("\x1b"
                  "7\x1b[r\x1b"
                  "8\x1b"
                  "D\x1b[A\x1b"
                  "7\x1b[1;{}r\x1b"
                  "8",
                  rows_ - 1));
}

void StatusLine::release_bottom_row() {
  put(
      fmt::format("\x1b"
                  "7\x1b[{};1H\x1b[2K\x1b[r\x1b"
                  "8",
                  rows_));
  StopSignals::set_last_words(nullptr);
}

double RateMeter::update(double count) {
  const double seconds = since_reading_.seconds();
  if (seconds <= 0) return rate_;
  const double latest = (count - last_count_) / seconds;
  rate_ = rate_ == 0 ? latest : 0.8 * rate_ + 0.2 * latest;
  last_count_ = count;
  since_reading_ = Stopwatch();
  return rate_;
}

std::string progress_bar(double share) {
  constexpr int kCells = 24;
  const int filled = std::clamp(static_cast<int>(share * kCells), 0, kCells);
  return fmt::format("[{:#<{}}{:-<{}}] {:3.0f} %", "", filled, "", kCells - filled, share * 100);
}

}  // namespace runnel::cli
