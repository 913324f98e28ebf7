#include "cli/signals.h"

#include <csignal>

namespace runnel::cli {
namespace {

volatile std::sig_atomic_t stop_requested = 0;  // a handler can reach nothing else

void request_stop(int) { stop_requested = 1; }

}  // namespace

StopSignals::StopSignals() { install(); }

StopSignals::~StopSignals() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool StopSignals::requested() const { return stop_requested != 0; }

void StopSignals::forget() { install(); }

void StopSignals::install() {
  stop_requested = 0;
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // and no SA_RESTART: a blocked read returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace runnel::cli
