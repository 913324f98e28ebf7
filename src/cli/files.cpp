#include "cli/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runnel/error.h"

namespace runnel::cli {
namespace {

// 0, or the errno of the first failure.
int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

std::string without_controls(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_control = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
    if (is_control) {
      safe += "\xef\xbf\xbd";
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string read_file(const std::string& path) {
  const bool is_stdin = path == "-";
  const int fd = is_stdin ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
  std::string text;
  char block[1 << 16];
  ssize_t got = 0;
  while ((got = ::read(fd, block, sizeof block)) > 0)
    text.append(block, static_cast<std::size_t>(got));
  const int fault = got < 0 ? errno : 0;
  if (!is_stdin) ::close(fd);
  if (fault != 0) throw Error(fmt::format("{}: cannot read: {}", path, std::strerror(fault)));
  return text;
}

Output::Output() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}

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
