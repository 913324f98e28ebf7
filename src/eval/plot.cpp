#include "eval/plot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runnel/error.h"

extern char** environ;

namespace runnel::eval {
namespace {

constexpr const char* kPlotStyle = R"(set encoding utf8
set border 3 lc rgb '#888888'
set tics nomirror textcolor rgb '#333333'
set grid back lc rgb '#e4e4e4' lt 1 lw 1
set key textcolor rgb '#333333'
)";

std::string script_text(const Plot& plot) {
  return fmt::format(
      "# gnuplot {0}.gp makes {0}.svg and {0}.png.\n{1}"
      "set terminal svg size {2},{3} font 'sans-serif,14' background rgb 'white'\n"
      "set output '{0}.svg'\n{4}\nunset output\n"
      "set terminal pngcairo size {2},{3} font 'sans,11' background rgb 'white'\n"
      "set output '{0}.png'\n{4}\nunset output\n",
      plot.name, kPlotStyle, plot.width, plot.height, plot.script);
}

// What posix_spawn is told: work in `folder`, standard error into a pipe, standard output nowhere.
class SpawnActions {
 public:
  SpawnActions(const std::filesystem::path& folder, int error_fd) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addchdir_np(&actions_, folder.c_str());
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, error_fd, STDERR_FILENO);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }

  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

std::string read_to_end(int fd) {
  std::string text;
  std::array<char, 4096> block;
  for (;;) {
    const ssize_t got = ::read(fd, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(block.data(), static_cast<std::size_t>(got));
  }
}

// gnuplot warns at length before it says what is wrong.
std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

int wait_for(pid_t process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void run_gnuplot(const std::string& script, const std::filesystem::path& folder) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0)
    throw Error(fmt::format("gnuplot: cannot make a pipe: {}", std::strerror(errno)));
  pid_t process = 0;
  std::string program = "gnuplot";
  std::string argument = script;
  char* const arguments[] = {program.data(), argument.data(), nullptr};
  const SpawnActions actions(folder, pipe_ends[1]);
  int fault = ::posix_spawnp(&process, program.c_str(), actions.get(), nullptr, arguments, environ);
  ::close(pipe_ends[1]);
  const std::string complaint = fault == 0 ? read_to_end(pipe_ends[0]) : "";
  ::close(pipe_ends[0]);
  const int status = fault == 0 ? wait_for(process) : 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) fault = ENOENT;  // POSIX allows this too
  if (fault != 0) {
    throw Error(fmt::format(
        "gnuplot: cannot run it: {}; the data and the script {} are in {}: install gnuplot and "
        "run it there",
        std::strerror(fault), script, folder.string()));
  }
  if (status != 0) {
    throw Error(
        fmt::format("gnuplot: {} failed: {}", (folder / script).string(), last_line(complaint)));
  }
}

// Maps are embedded as small pictures; each of their pixels is a number and shall stay a square.
void keep_pixels_square(const std::filesystem::path& svg) {
  std::string text = read_file(svg);
  constexpr std::string_view kImage = "<image ";
  for (std::size_t at = 0; (at = text.find(kImage, at)) != std::string::npos; at += kImage.size())
    text.insert(at + kImage.size(), "style='image-rendering:pixelated' ");
  write_file(svg, text);
}

}  // namespace

std::string gnuplot_string(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\n') continue;
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

void draw(const Plot& plot, const std::filesystem::path& folder) {
  make_folder(folder);
  write_file(folder / (plot.name + ".dat"), plot.data);
  write_file(folder / (plot.name + ".gp"), script_text(plot));
  run_gnuplot(plot.name + ".gp", folder);
  keep_pixels_square(folder / (plot.name + ".svg"));
}

void add_picture(Section& section, const Plot& plot, const std::string& caption,
                 const std::filesystem::path& folder) {
  try {
    draw(plot, folder);
    section.pictures.push_back({plot.name, caption});
  } catch (const Error& error) {
    section.notes.emplace_back(error.what());
  }
}

}  // namespace runnel::eval
