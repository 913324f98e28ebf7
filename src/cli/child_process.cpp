#include "cli/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "runnel/error.h"

namespace runnel::cli {
namespace {

constexpr int kPollMilliseconds = 50;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment(const std::vector<std::string>& variables) {
  std::vector<std::string> all = variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    const bool is_replaced =
        std::any_of(variables.begin(), variables.end(),
                    [name](const std::string& variable) { return variable.starts_with(name); });
    if (!is_replaced) all.emplace_back(text);
  }
  return all;
}

// What a new process gets beside its words: files, and the signals that this one ignores.
class Setup {
 public:
  explicit Setup(const ChildOptions& options) {
    constexpr int kAppend = O_WRONLY | O_CREAT | O_APPEND;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, options.out.c_str(), kAppend, 0644);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, options.err.c_str(), kAppend, 0644);
    posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;
  ~Setup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) {
  std::vector<std::string> words = options.command;
  std::vector<std::string> variables = environment(options.variables);
  const Setup setup(options);
  const int fault = posix_spawnp(&pid_, words.front().c_str(), &setup.actions, &setup.attributes,
                                 pointers(words).data(), pointers(variables).data());
  if (fault == 0) return;
  pid_ = -1;
  throw Error(fmt::format("{}: cannot start: {}", words.front(), std::strerror(fault)));
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);
  if (wait(2000)) return;
  ::kill(pid_, SIGKILL);
  reap(0);
}

bool ChildProcess::wait(int milliseconds) {
  for (int waited = 0; pid_ >= 0; waited += kPollMilliseconds) {
    if (reap(WNOHANG)) break;
    if (waited >= milliseconds) return false;
    ::poll(nullptr, 0, kPollMilliseconds);
  }
  return true;
}

bool ChildProcess::reap(int options) {
  int status = 0;
  pid_t ended = 0;
  while ((ended = ::waitpid(pid_, &status, options)) < 0 && errno == EINTR) {
  }
  if (ended != pid_) return false;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  pid_ = -1;
  return true;
}

}  // namespace runnel::cli
