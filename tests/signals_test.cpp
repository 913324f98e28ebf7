// Signals as requests, and what a second one leaves behind.
#include "cli/signals.h"

#include <gtest/gtest.h>

#include <csignal>

namespace runnel::cli {
namespace {

TEST(StopSignals, TheFirstIsARequestThatCanBeForgotten) {
  StopSignals stop;
  EXPECT_FALSE(stop.requested());
  std::raise(SIGINT);
  EXPECT_TRUE(stop.requested());
  stop.forget();
  EXPECT_FALSE(stop.requested());
  std::raise(SIGTERM);
  EXPECT_TRUE(stop.requested());
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
