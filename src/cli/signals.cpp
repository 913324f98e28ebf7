#include "cli/signals.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace runnel::cli {
namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGHUP};

// A handler can reach nothing else.
volatile std::sig_atomic_t has_interrupt = 0;
volatile std::sig_atomic_t has_end = 0;  // the signal's number
std::atomic<const char*> last_words = nullptr;
int left_exit_code = 0;
static_assert(std::atomic<const char*>::is_always_lock_free);

// The second signal stays blocked until this returns, and then ends the process.
void request_stop(int signal) {
  volatile std::sig_atomic_t& request = signal == SIGINT ? has_interrupt : has_end;
  if (request == 0 && has_end == 0) {
    request = signal;
    return;
  }
  if (signal == SIGHUP) return;
  if (const char* text = last_words) {
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, std::strlen(text));
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

bool is_ignored(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

}  // namespace

StopSignals::StopSignals() {
  has_interrupt = 0;
  has_end = 0;
  struct sigaction action {};  // no SA_RESTART: a blocked read returns
  action.sa_handler = request_stop;
  sigemptyset(&action.sa_mask);
  for (const int signal : kStopSignals) {
    if (signal != SIGHUP || !is_ignored(signal)) sigaction(signal, &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (const int signal : kStopSignals) {
    if (!is_ignored(signal)) std::signal(signal, SIG_DFL);
  }
}

bool StopSignals::requested() const { return has_interrupt != 0 || has_end != 0; }

bool StopSignals::end_requested() const { return has_end != 0; }

int StopSignals::exit_code() const {
  if (!requested()) return 0;
  return 128 + (has_end != 0 ? has_end : has_interrupt);
}

void StopSignals::tell_unfinished() const {
  if (!requested()) return;
  fmt::print(stderr, "runnel: stopped; this is what was done so far\n");
  left_exit_code = exit_code();
}

int unfinished_exit_code() { return left_exit_code; }

void StopSignals::forget_interrupt() { has_interrupt = 0; }

// The timeout bounds the wait of a request that comes just before poll.
bool StopSignals::wait_to_read(int fd) const {
  pollfd input{.fd = fd, .events = POLLIN, .revents = 0};
  while (!requested()) {
    if (::poll(&input, 1, 200) > 0) return true;
  }
  return false;
}

void StopSignals::set_last_words(const char* text) { last_words = text; }

Stopped::Stopped(const StopSignals& stop, const std::string& what_is_left)
    : Error(what_is_left.empty() ? "stopped before it was done" : "stopped; " + what_is_left),
      exit_code_(stop.exit_code()) {}

}  // namespace runnel::cli
