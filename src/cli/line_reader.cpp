#include "cli/line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <iostream>
#include <system_error>
#include <utility>

namespace runnel::cli {
namespace fs = std::filesystem;

namespace {

constexpr int kHistoryLines = 1000;
constexpr auto kHalfCharacter = static_cast<std::size_t>(-2);  // what mbrtowc returns
constexpr auto kNoCharacter = static_cast<std::size_t>(-1);

std::string without_newline(std::string line) {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return line;
}

}  // namespace

// libedit, owned. Ctrl-C at the prompt is a key here, not a signal.
class LineReader::Editor {
 public:
  Editor(std::string prompt, fs::path history_path)
      : prompt_(std::move(prompt)),
        history_path_(std::move(history_path)),
        edit_(el_init("runnel", stdin, stdout, stderr)),
        history_(history_init()) {
    HistEvent event;
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    if (!history_path_.empty()) history(history_, &event, H_LOAD, history_path_.c_str());
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_GETCFN, &Editor::read_character);
    el_set(edit_, EL_PROMPT, &Editor::prompt_of);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, &history, history_);
    el_set(edit_, EL_SETTY, "-d", "-isig", nullptr);
    el_set(edit_, EL_ADDFN, "runnel-interrupt", "Give up the line", &Editor::interrupt);
    el_set(edit_, EL_BIND, "^C", "runnel-interrupt", nullptr);
    el_set(edit_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }

  ~Editor() {
    history_end(history_);
    el_end(edit_);
  }

  std::optional<std::string> next(const StopSignals& stop) {
    stop_ = &stop;
    const char* text = nullptr;
    int length = 0;
    do {
      is_given_up_ = false;
      text = el_gets(edit_, &length);
      if (text == nullptr || length <= 0) std::cout << std::endl;  // off the prompt's line
    } while (is_given_up_);
    if (text == nullptr || length <= 0) return std::nullopt;
    const std::string line = without_newline(std::string(text, static_cast<std::size_t>(length)));
    if (!line.empty()) remember(line);
    return line;
  }

 private:
  static Editor* self(EditLine* edit) {
    void* client = nullptr;
    el_get(edit, EL_CLIENTDATA, &client);
    return static_cast<Editor*>(client);
  }
  static char* prompt_of(EditLine* edit) { return self(edit)->prompt_.data(); }
  // Leaves an empty line as Ctrl-D does.
  static unsigned char interrupt(EditLine* edit, int) {
    const LineInfo* line = el_line(edit);
    self(edit)->is_given_up_ = line->lastchar != line->buffer;
    return CC_EOF;
  }
  // A character, as libedit reads it but for the look at requests to stop: 1, 0 at the end, -1.
  static int read_character(EditLine* edit, wchar_t* character) {
    std::mbstate_t state{};
    for (;;) {
      char byte = 0;
      if (!self(edit)->stop_->wait_to_read(STDIN_FILENO)) return -1;
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n <= 0) return static_cast<int>(n);
      const std::size_t used = std::mbrtowc(character, &byte, 1, &state);
      if (used == kHalfCharacter) continue;
      if (used == kNoCharacter) state = {};
      if (used != kNoCharacter) return 1;
    }
  }

  void remember(const std::string& line) {
    HistEvent event;
    history(history_, &event, H_ENTER, line.c_str());
    if (!history_path_.empty()) history(history_, &event, H_SAVE, history_path_.c_str());
  }

  std::string prompt_;
  fs::path history_path_;
  EditLine* edit_;
  History* history_;
  const StopSignals* stop_ = nullptr;  // while a line is read
  bool is_given_up_ = false;
};

LineReader::LineReader(std::string prompt, fs::path history) {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) return;
  std::error_code ignored;
  if (history.has_parent_path()) fs::create_directories(history.parent_path(), ignored);
  editor_ = std::make_unique<Editor>(std::move(prompt), std::move(history));
}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::next(const StopSignals& stop) {
  if (editor_) return editor_->next(stop);
  if (stop.requested()) return std::nullopt;
  std::size_t end = 0;
  while ((end = read_.find('\n')) == std::string::npos) {
    if (!stop.wait_to_read(STDIN_FILENO)) return std::nullopt;
    char block[1 << 16];
    const ssize_t n = ::read(STDIN_FILENO, block, sizeof block);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n > 0) {
      read_.append(block, static_cast<std::size_t>(n));
    } else if (read_.empty()) {
      return std::nullopt;
    } else {
      read_ += '\n';
    }
  }
  std::string line = read_.substr(0, end);
  read_.erase(0, end + 1);
  return without_newline(std::move(line));
}

fs::path state_file(const std::string& name) {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') {
    return fs::path(state) / "runnel" / name;
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return fs::path(home) / ".local/state/runnel" / name;
  }
  return {};
}

}  // namespace runnel::cli
