// The guard: loops and running measures.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "serve/guard/guard.h"

namespace runnel::serve {
namespace {

TEST(LoopDetector, FindsTheRunThatRepeats) {
  for (const int length : {1, 2, 7, 30, 64}) {
    LoopDetector detector;
    std::mt19937 random(1);
    for (int i = 0; i < 200; ++i) EXPECT_EQ(detector.push(static_cast<Token>(random() % 5000)), 0);
    int found = 0;
    for (int i = 0; i < length * LoopDetector::kRepeats + LoopDetector::kLeastTokens; ++i)
      found = detector.push(10000 + i % length);
    EXPECT_EQ(found, length);
  }
}

TEST(LoopDetector, LeavesProseAlone) {
  LoopDetector detector;
  std::mt19937 random(2);
  for (int i = 0; i < 20000; ++i) EXPECT_EQ(detector.push(static_cast<Token>(random() % 20)), 0);
  // A verse with a refrain comes back, but not at once.
  for (int verse = 0; verse < 20; ++verse) {
    for (int i = 0; i < 30; ++i) EXPECT_EQ(detector.push(i), 0);
    for (int i = 0; i < 90; ++i) EXPECT_EQ(detector.push(static_cast<Token>(random() % 5000)), 0);
  }
}

TEST(Guard, TellsThatALoopBeganOnce) {
  Guard guard;
  int n_began = 0;
  for (int i = 0; i < 500; ++i) n_began += guard.wrote(i % 3, -1.0f) ? 1 : 0;
  EXPECT_EQ(n_began, 1);
  EXPECT_EQ(guard.measures().loop, 3);
  EXPECT_NEAR(guard.measures().written_log_probability, -1, 1e-6);
}

TEST(Guard, MeasuresTheEntropyOfWhatMayCome) {
  Guard guard;
  guard.look(std::vector<float>(8, 0.5f));
  EXPECT_NEAR(guard.measures().entropy, std::log(8.0), 1e-6);
}

}  // namespace
}  // namespace runnel::serve
