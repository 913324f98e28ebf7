#include "cli/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>

namespace runnel::cli {
namespace {

// A handler can reach nothing else.
volatile std::sig_atomic_t stop_requested = 0;
std::atomic<const char*> last_words = nullptr;
static_assert(std::atomic<const char*>::is_always_lock_free);

// The second signal stays blocked until this returns, and then ends the process.
void request_stop(int signal) {
  if (stop_requested == 0) {
    stop_requested = 1;
    return;
  }
  if (const char* text = last_words) {
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, std::strlen(text));
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

StopSignals::StopSignals() {
  stop_requested = 0;
  struct sigaction action {};  // no SA_RESTART: a blocked read returns
  action.sa_handler = request_stop;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

StopSignals::~StopSignals() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool StopSignals::requested() const { return stop_requested != 0; }

void StopSignals::forget() { stop_requested = 0; }

void StopSignals::set_last_words(const char* text) { last_words = text; }

}  // namespace runnel::cli
