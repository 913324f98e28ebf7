#include "engine/replaced_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <string>
#include <string_view>
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

// "NAME.PID-N.tmp"
bool is_temporary_of(std::string_view file, std::string_view name) {
  constexpr std::string_view kEnding = ".tmp";
  if (!file.starts_with(name) || !file.ends_with(kEnding)) return false;
  if (file.size() <= name.size() + 1 + kEnding.size() || file[name.size()] != '.') return false;
  file.remove_prefix(name.size() + 1);
  file.remove_suffix(kEnding.size());
  return file.find('-') != std::string_view::npos &&
         file.find_first_not_of("0123456789-") == std::string_view::npos;
}

// What killed writers of this target left. One that has just been made, and is not locked yet, is
// let live for a minute.
void remove_abandoned(const fs::path& target) {
  const fs::path folder = target.has_parent_path() ? target.parent_path() : ".";
  const std::string name = target.filename().string();
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (!is_temporary_of(entry.path().filename().string(), name)) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    struct stat status {};
    const bool is_old = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                        std::time(nullptr) - status.st_mtime > 60;
    if (is_old && ::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
    ::close(fd);
  }
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

// Under a name that no file has. The lock tells a temporary file that somebody writes from one
// whose writer was killed.
void ReplacedFile::create() {
  remove_abandoned(target_);
  for (int i = 0; fd_ < 0; ++i) {
    temporary_ = fmt::format("{}.{}-{}.tmp", target_.string(), ::getpid(), i);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd_ < 0 && errno != EEXIST) fail("create the file");
  }
  ::flock(fd_, LOCK_EX | LOCK_NB);
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
