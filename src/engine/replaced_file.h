// A file that is replaced whole: written beside its name and renamed to it by commit(), so the path
// holds the old file or the new one whenever the machine stops. Without commit() nothing changes.
//
// Temporary files that writers of the same path left behind when they were killed are removed after
// a minute, by the next writer.
//
// A symbolic link stays, and what it points to is replaced. A new file gets mode 0644 less the
// umask, a replaced one keeps its mode.
#pragma once

#include <filesystem>
#include <string_view>

namespace runnel {

class ReplacedFile {
 public:
  // Error: something other than a regular file stands at the path, or no file can be made there.
  explicit ReplacedFile(std::filesystem::path path);
  ReplacedFile(const ReplacedFile&) = delete;
  ReplacedFile& operator=(const ReplacedFile&) = delete;
  ~ReplacedFile();

  void write(std::string_view bytes);  // Error: disk full and the like
  // The data reaches the disk before the name does, and the name before this returns.
  void commit();

 private:
  void create();
  [[noreturn]] void fail(const char* doing) const;

  std::filesystem::path path_;       // as it was given, for errors
  std::filesystem::path target_;     // behind symbolic links
  std::filesystem::path temporary_;  // beside the target
  int fd_ = -1;
};

// Before long work whose result is to be written to `path`: the Error that writing would end in.
inline void check_replaceable(const std::filesystem::path& path) { const ReplacedFile file(path); }

}  // namespace runnel
