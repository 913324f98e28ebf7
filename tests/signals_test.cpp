// Signals as requests, and what a second one leaves behind.
#include "cli/signals.h"

#include <gtest/gtest.h>

#include <csignal>

namespace runnel::cli {
namespace {

TEST(StopSignals, AnInterruptIsARequestThatCanBeForgotten) {
  StopSignals stop;
  EXPECT_FALSE(stop.requested());
  std::raise(SIGINT);
  EXPECT_TRUE(stop.requested());
  EXPECT_FALSE(stop.end_requested());
  stop.forget_interrupt();
  EXPECT_FALSE(stop.requested());
}

TEST(StopSignals, ARequestToEndStays) {
  for (const int signal : {SIGTERM, SIGHUP}) {
    StopSignals stop;
    std::raise(SIGINT);
    std::raise(signal);
    stop.forget_interrupt();
    EXPECT_TRUE(stop.requested());
    EXPECT_TRUE(stop.end_requested());
    std::raise(SIGHUP);  // a closing terminal sends several
  }
}

TEST(StopSignals, AnIgnoredHangUpStaysIgnored) {
  std::signal(SIGHUP, SIG_IGN);
  {
    const StopSignals stop;
    std::raise(SIGHUP);
    EXPECT_FALSE(stop.requested());
  }
  EXPECT_EQ(std::signal(SIGHUP, SIG_DFL), SIG_IGN);
}

TEST(StopSignalsDeathTest, TheSecondEndsTheProcessWithTheTerminalPutRight) {
  const auto interrupt_twice = [] {
    const StopSignals stop;
    StopSignals::set_last_words("put right");
    std::raise(SIGINT);
    std::raise(SIGINT);
  };
  EXPECT_EXIT(interrupt_twice(), testing::KilledBySignal(SIGINT), "put right");
}

}  // namespace
}  // namespace runnel::cli
