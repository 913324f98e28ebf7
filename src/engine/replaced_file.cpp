#include "engine/replaced_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "runnel/error.h"

namespace runnel {
namespace fs = std::filesystem;

namespace {

const char* type_text(fs::file_type type) {
  switch (type) {
    case fs::file_type::directory:
      return "a folder";
    case fs::file_type::fifo:
      return "a pipe";
    case fs::file_type::character:
    case fs::file_type::block:
      return "a device";
    case fs::file_type::socket:
      return "a socket";
    default:
      return "something else";
  }
}

// Also where the last link points to nothing yet.
fs::path behind_links(fs::path path) {
  std::error_code error;
  while (fs::is_symlink(fs::symlink_status(path, error)))
    path = path.parent_path() / fs::read_symlink(path, error);
  return path;
}

}  // namespace

ReplacedFile::ReplacedFile(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  const fs::file_status status = fs::status(path_, error);  // an error for links in a circle, too
  if (status.type() == fs::file_type::none)
    throw FileError(fmt::format("{}: cannot create the file: {}", path_.string(), error.message()),
                    error.value());
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw Error(fmt::format("{}: want a regular file or a new one to write, found {}",
                            path_.string(), type_text(status.type())));
  }
  target_ = behind_links(path_);
  create();
  if (fs::exists(status)) ::fchmod(fd_, static_cast<mode_t>(status.permissions()));
}

// Under a name that no file has.
void ReplacedFile::create() {
  for (int i = 0; fd_ < 0; ++i) {
    temporary_ = fmt::format("{}.{}-{}.tmp", target_.string(), ::getpid(), i);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd_ < 0 && errno != EEXIST) fail("create the file");
  }
}

ReplacedFile::~ReplacedFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void ReplacedFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void ReplacedFile::commit() {
  if (::fsync(fd_) != 0) fail("sync");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("rename the temporary file");
  ::close(fd_);
  fd_ = -1;
  const fs::path parent = target_.has_parent_path() ? target_.parent_path() : ".";
  if (const int folder = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
}

void ReplacedFile::fail(const char* doing) const {
  const int code = errno;
  throw FileError(fmt::format("{}: cannot {}: {}", path_.string(), doing,
                              std::generic_category().message(code)),
                  code);
}

}  // namespace runnel
