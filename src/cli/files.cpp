#include "cli/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/utf8.h"
#include "runnel/error.h"

namespace runnel::cli {
namespace {

// Of a descriptor that does not block, as event loops leave them.
bool would_block(int fault) { return fault == EAGAIN || fault == EWOULDBLOCK; }

void wait_for(int fd, short event) {
  pollfd waited{.fd = fd, .events = event, .revents = 0};
  ::poll(&waited, 1, -1);
}

bool is_c1(char32_t character) { return character >= 0x80 && character < 0xa0; }

}  // namespace

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (would_block(errno)) {
      wait_for(fd, POLLOUT);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

// The C1 controls as well, in both ways to write them: some terminals take U+009B for ESC [.
std::string without_controls(std::string_view text) {
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const auto length = static_cast<std::size_t>(utf8_length(text));
    const char32_t character = length > 0 ? utf8_decode(text) : 0;
    const bool is_layout = character == '\n' || character == '\t';
    const bool is_control = character < 0x20 || character == 0x7f || is_c1(character);
    if (length > 0 && (is_layout || !is_control)) {
      safe += text.substr(0, length);
    } else {
      safe += kReplacement;
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return safe;
}

std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\t'; }, '\x7f');
  return without_controls(line);
}

std::string read_file(const std::string& path) {
  const bool is_stdin = path == "-";
  const int fd = is_stdin ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
  std::string text;
  char block[1 << 16];
  int fault = 0;
  while (fault == 0) {
    const ssize_t got = ::read(fd, block, sizeof block);
    if (got == 0) break;
    if (got > 0) {
      text.append(block, static_cast<std::size_t>(got));
    } else if (would_block(errno)) {
      wait_for(fd, POLLIN);
    } else if (errno != EINTR) {
      fault = errno;
    }
  }
  if (!is_stdin) ::close(fd);
  if (fault != 0) throw Error(fmt::format("{}: cannot read: {}", path, std::strerror(fault)));
  return text;
}

Output::Output() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}

bool Output::is_file() const {
  struct stat status {};
  return ::fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode);
}

bool Output::write(std::string_view text) {
  if (is_closed_) return false;
  if (text.empty()) return true;
  const int fault = is_terminal_ ? write_all(STDOUT_FILENO, without_controls(text))
                                 : write_all(STDOUT_FILENO, text);
  const bool is_hung_up = is_terminal_ && fault == EIO;
  if (fault != 0 && fault != EPIPE && fault != EBADF && !is_hung_up) {
    throw Error(fmt::format("standard output: cannot write: {}", std::strerror(fault)));
  }
  is_closed_ = fault != 0;
  last_ = text.back();
  return !is_closed_;
}

}  // namespace runnel::cli
