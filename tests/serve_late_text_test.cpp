// A text that takes long: made once, and nobody waits too long for it.
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>

#include "serve/late_text.h"
#include "serve/protocols/model_file.h"
#include "support/paths.h"

namespace runnel::serve {
namespace {

std::string asked(LateText& text) {
  std::promise<std::string> answer;
  text.ask([&](const std::string& value) { answer.set_value(value); });
  return answer.get_future().get();
}

TEST(LateText, IsMadeOnceAndOnlyWhereSomebodyAsks) {
  std::atomic<int> n_made{0};
  LateText text([&](const std::atomic<bool>&) { return "made " + std::to_string(++n_made); },
                std::chrono::minutes(1));
  EXPECT_EQ(n_made, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(asked(text), "made 1");
}

TEST(LateText, IsNotWaitedForBeyondPatienceAndComesLater) {
  std::promise<void> go;
  LateText text(
      [&](const std::atomic<bool>&) {
        go.get_future().wait();
        return std::string("late");
      },
      std::chrono::milliseconds(1));
  EXPECT_EQ(asked(text), "");
  EXPECT_EQ(asked(text), "");
  go.set_value();
  while (asked(text).empty()) std::this_thread::yield();
  EXPECT_EQ(asked(text), "late");
}

TEST(LateText, IsGivenUpAtTheEndAndWhoeverWaitsIsAnswered) {
  std::string found = "not answered";
  {
    LateText text(
        [](const std::atomic<bool>& is_unwanted) -> std::string {
          while (!is_unwanted) std::this_thread::yield();
          throw Error("given up");
        },
        std::chrono::hours(1));
    text.ask([&](const std::string& value) { found = value; });
  }
  EXPECT_EQ(found, "");
}

TEST(ModelFile, IsToldAsTheFileIs) {
  const Model model = Model::load(test::bundled_model(), {.threads = 1});
  const ModelFile file = file_of(model);
  EXPECT_EQ(file.bytes, std::filesystem::file_size(test::bundled_model()));
  EXPECT_GT(file.changed, 0);
  EXPECT_EQ(file.quantization, "Q8_0");
  EXPECT_EQ(file.n_parameters.back(), 'M');
}

TEST(ModelFile, CountsAreShort) {
  EXPECT_EQ(short_count(999), "999");
  EXPECT_EQ(short_count(25000), "25K");
  EXPECT_EQ(short_count(134515008), "134.52M");
  EXPECT_EQ(short_count(7615616512), "7.6B");
}

}  // namespace
}  // namespace runnel::serve
