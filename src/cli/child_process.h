// Another program as a child that is waited for.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace runnel::cli {

struct ChildOptions {
  std::vector<std::string> command;    // the program is looked for in PATH
  std::filesystem::path out;           // standard output is appended here,
  std::filesystem::path err;           // and standard error here, which may be the same file
  std::vector<std::string> variables;  // "NAME=value", over those of this process
};

// One child. It reads nothing. Destroyed while it runs, it is ended first.
class ChildProcess {
 public:
  explicit ChildProcess(const ChildOptions& options);  // Error: the program cannot be started
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  // Waits at most so long; true: it has ended.
  bool wait(int milliseconds);
  int exit_code() const { return exit_code_; }  // 128 and the signal, where one ended it

 private:
  bool reap(int options);

  pid_t pid_ = -1;  // -1: it has ended
  int exit_code_ = 0;
};

}  // namespace runnel::cli
