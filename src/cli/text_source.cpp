#include "cli/text_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runnel/error.h"

namespace runnel::cli {
namespace {

constexpr std::size_t kReadBytes = 16 << 10;

}  // namespace

TextSource TextSource::from_text(std::string text) {
  TextSource source;
  source.rest_ = std::move(text);
  return source;
}

TextSource TextSource::from_file(const std::string& path) {
  TextSource source;
  source.name_ = path == "-" ? "standard input" : path;
  source.fd_ = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (source.fd_ < 0) throw Error(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
  return source;
}

TextSource::TextSource(TextSource&& other) noexcept
    : name_(std::move(other.name_)),
      fd_(std::exchange(other.fd_, -1)),
      rest_(std::move(other.rest_)),
      splitter_(std::move(other.splitter_)) {}

TextSource::~TextSource() { close(); }

std::optional<std::string> TextSource::next(const StopSignals& stop) {
  while (fd_ >= 0) {
    char block[kReadBytes];
    const ssize_t got = stop.wait_to_read(fd_) ? ::read(fd_, block, sizeof block) : 0;
    const bool is_to_try_again = got < 0 && (errno == EINTR || errno == EAGAIN);
    if (is_to_try_again) continue;
    if (got < 0) {
      throw Error(fmt::format("{}: cannot read: {}", name_, std::strerror(errno)));
    }
    if (got > 0) {
      std::string piece = splitter_.push({block, static_cast<std::size_t>(got)});
      if (!piece.empty()) return piece;
    } else {
      rest_ = splitter_.finish();
      close();
    }
  }
  if (rest_.empty()) return std::nullopt;
  return std::exchange(rest_, {});
}

void TextSource::close() {
  if (fd_ > STDIN_FILENO) ::close(fd_);
  fd_ = -1;
}

}  // namespace runnel::cli
