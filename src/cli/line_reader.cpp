#include "cli/line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <system_error>
#include <utility>

namespace runnel::cli {
namespace fs = std::filesystem;

namespace {

constexpr int kHistoryLines = 1000;

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

  Result next() {
    is_interrupted_ = false;
    int length = 0;
    const char* text = el_gets(edit_, &length);
    if (is_interrupted_) {
      std::cout << std::endl;
      return {Event::kInterrupted, ""};
    }
    if (text == nullptr || length <= 0) return {Event::kEnd, ""};
    const std::string line = without_newline(std::string(text, static_cast<std::size_t>(length)));
    if (!line.empty()) remember(line);
    return {Event::kLine, line};
  }

 private:
  static Editor* self(EditLine* edit) {
    void* client = nullptr;
    el_get(edit, EL_CLIENTDATA, &client);
    return static_cast<Editor*>(client);
  }
  static char* prompt_of(EditLine* edit) { return self(edit)->prompt_.data(); }
  static unsigned char interrupt(EditLine* edit, int) {
    self(edit)->is_interrupted_ = true;
    return CC_EOF;
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
  bool is_interrupted_ = false;
};

LineReader::LineReader(std::string prompt, fs::path history) {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) return;
  std::error_code ignored;
  if (history.has_parent_path()) fs::create_directories(history.parent_path(), ignored);
  editor_ = std::make_unique<Editor>(std::move(prompt), std::move(history));
}

LineReader::~LineReader() = default;

LineReader::Result LineReader::next() {
  if (editor_) return editor_->next();
  std::string line;
  if (!std::getline(std::cin, line)) return {Event::kEnd, ""};
  return {Event::kLine, without_newline(std::move(line))};
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
