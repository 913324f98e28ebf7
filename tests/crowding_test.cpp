#include "base/crowding.h"

#include <gtest/gtest.h>

#include <chrono>

namespace runnel {
namespace {

using std::chrono::milliseconds;

class CrowdedCores : public testing::Test {
 protected:
  // Jobs, one each 5 ms for as long, that end after so long a wait.
  void run(milliseconds for_so_long, milliseconds wait) {
    for (const auto end = now_ + for_so_long; now_ < end;) {
      now_ += milliseconds(5);
      if (crowding_.is_crowded()) crowding_.look_again(now_);
      if (crowding_.n_active() > 1 && wait.count() > 0) crowding_.waited(now_ - wait, now_);
    }
  }

  Crowding crowding_{2};
  Crowding::Time now_ = Crowding::Time{} + std::chrono::hours(1);
};

TEST_F(CrowdedCores, LeaveAThreadOutThatTheOthersMostlyWaitFor) {
  run(milliseconds(60), milliseconds(4));
  EXPECT_EQ(crowding_.n_active(), 1);
}

TEST_F(CrowdedCores, KeepAThreadThatIsWorthItsWaits) {
  run(milliseconds(5000), milliseconds(1));
  EXPECT_EQ(crowding_.n_active(), 2);
}

TEST_F(CrowdedCores, KeepAThreadThatWasLateOnce) {
  crowding_.waited(now_, now_ + milliseconds(15));
  now_ += milliseconds(1000);
  crowding_.waited(now_, now_ + milliseconds(15));
  EXPECT_EQ(crowding_.n_active(), 2);
}

TEST_F(CrowdedCores, TakeItBackWhenTheyAreFree) {
  run(milliseconds(60), milliseconds(4));
  run(Crowding::kLongRest, milliseconds(0));
  EXPECT_EQ(crowding_.n_active(), 2);
}

TEST_F(CrowdedCores, TryMoreAndMoreSeldomWhileTheyAreNot) {
  int n_with_two = 0;
  for (int i = 0; i < 1000; ++i) {
    run(milliseconds(5), milliseconds(4));
    n_with_two += crowding_.n_active() == 2;
  }
  EXPECT_GT(n_with_two, 10);  // of 5 s, in steps of 5 ms
  EXPECT_LT(n_with_two, 100);
}

TEST_F(CrowdedCores, OfMoreThreadsOneAfterTheOtherDownToOne) {
  Crowding crowding(4);
  for (int i = 0; i < 40; ++i, now_ += milliseconds(5))
    crowding.waited(now_, now_ + milliseconds(4));
  EXPECT_EQ(crowding.n_active(), 1);
}

}  // namespace
}  // namespace runnel
