// A stream copied, pushed, kept in memory and looked into.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "runnel/runnel.h"
#include "support/error_text.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/stream_kinds.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

const Model& copied_model() {
  static const Model model = Model::load(test::bundled_model(), {.threads = 1});
  return model;
}

constexpr const char* kOpening =
    "The clock struck, and the old man rose from his chair. The clock struck, and the old man rose";

void expect_same_steps(Stream& got, Stream& want, int n) {
  for (int i = 0; i < n; ++i) {
    const Stream::Step want_step = want.next();
    const Stream::Step step = got.next();
    ASSERT_EQ(step.token, want_step.token) << "at " << i;
    ASSERT_EQ(step.text, want_step.text) << "at " << i;
    ASSERT_EQ(step.log_probability, want_step.log_probability) << "at " << i;
  }
  EXPECT_EQ(got.position(), want.position());
  EXPECT_EQ(got.visible_tokens(), want.visible_tokens());
  EXPECT_EQ(got.guessed(), want.guessed());
  EXPECT_TRUE(std::ranges::equal(got.logits(), want.logits()));
}

class CopiedStream : public testing::TestWithParam<test::StreamKind> {
 protected:
  static Stream open(int n) {
    Stream stream = copied_model().open(GetParam().options);
    stream.feed(kOpening);
    for (int i = 0; i < n; ++i) stream.next();
    return stream;
  }
};

TEST_P(CopiedStream, GoesOnAsTheOriginal) {
  for (const int n : {0, 1, 17, 90}) {
    Stream stream = open(n);
    Stream fork = stream.fork();
    expect_same_steps(fork, stream, 40);
  }
}

TEST_P(CopiedStream, LeavesTheOriginalAlone) {
  Stream stream = open(30);
  Stream untouched = open(30);
  {
    Stream fork = stream.fork();
    fork.feed("Another story altogether.");
    for (int i = 0; i < 20; ++i) fork.next();
  }
  expect_same_steps(stream, untouched, 30);
}

TEST_P(CopiedStream, IsKeptInMemoryAsInAFile) {
  const test::TempDir folder;
  Stream stream = open(50);
  const std::vector<std::byte> bytes = stream.save_bytes();
  stream.save(folder / "saved.stream");
  std::ifstream in(folder / "saved.stream", std::ios::binary);
  const std::string file(std::istreambuf_iterator<char>(in), {});
  ASSERT_EQ(file.size(), bytes.size());
  EXPECT_TRUE(std::equal(file.begin(), file.end(), reinterpret_cast<const char*>(bytes.data())));
  Stream resumed = copied_model().resume(bytes);
  EXPECT_EQ(resumed.save_bytes(), bytes);
  for (int i = 0; i < 30; ++i) ASSERT_EQ(resumed.next().token, stream.next().token) << "at " << i;
}

TEST_P(CopiedStream, TakesPushedTokensAsItsOwn) {
  Stream stream = open(10);
  Stream pushed = open(10);
  for (int i = 0; i < 70; ++i) {
    const Stream::Step want = stream.next();
    const Stream::Step step = pushed.push(want.token);
    ASSERT_EQ(step.token, want.token);
    ASSERT_EQ(step.text, want.text);
    ASSERT_EQ(step.log_probability, want.log_probability);
  }
  EXPECT_TRUE(std::ranges::equal(pushed.logits(), stream.logits()));
  EXPECT_EQ(pushed.visible_tokens(), stream.visible_tokens());
}

TEST_P(CopiedStream, ShowsItsAttentionAndStaysAsItIs) {
  Stream stream = open(75);
  Stream untouched = open(75);
  const Stream::Attention last = stream.attention();
  const std::size_t n_keys = last.positions.size();
  ASSERT_EQ(last.weights.size(), static_cast<std::size_t>(last.layers * last.heads) * n_keys);
  EXPECT_EQ(last.queries, (std::vector<std::int64_t>{stream.position() - 1}));
  EXPECT_EQ(last.positions.back(), stream.position() - 1);
  EXPECT_TRUE(std::is_sorted(last.positions.begin(), last.positions.end()));
  const StreamOptions& options = stream.options();
  const std::int64_t most =
      options.window ? options.sinks + *options.window + 1 : stream.position();
  EXPECT_EQ(static_cast<std::int64_t>(n_keys), std::min(most, stream.position()));
  const float whole = options.softmax == Softmax::kStandard ? 1.0f : 0.0f;
  for (std::size_t row = 0; row < last.weights.size(); row += n_keys) {
    const auto first = last.weights.begin() + static_cast<std::ptrdiff_t>(row);
    const float sum = std::accumulate(first, first + static_cast<std::ptrdiff_t>(n_keys), 0.0f);
    if (whole == 1) {
      EXPECT_NEAR(sum, 1, 1e-4);
    }
    EXPECT_LE(sum, 1.0001f);
  }
  expect_same_steps(stream, untouched, 30);
}

INSTANTIATE_TEST_SUITE_P(Every, CopiedStream, testing::ValuesIn(test::stream_kinds()),
                         test::ByParameter());

TEST(Push, BeginsWithBosAndRefusesWhatIsNoToken) {
  Stream stream = copied_model().open();
  const std::string error = test::error_of([&] { stream.push(-1); });
  EXPECT_EQ(error, "token: want 0 to 4095, found -1");
  EXPECT_EQ(stream.position(), 0);
  stream.push(1000);
  EXPECT_EQ(stream.visible_tokens(), (std::vector<Token>{*copied_model().bos(), 1000}));
}

TEST(TopLogprobs, AreTheLikeliestTokensInOrder) {
  Stream stream = copied_model().open({.sampling = {.temperature = 0}});
  EXPECT_TRUE(stream.top_logprobs(3).empty());
  stream.feed(kOpening);
  const auto all = stream.top_logprobs(1 << 30);
  ASSERT_EQ(static_cast<int>(all.size()), copied_model().vocabulary_size());
  double sum = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    sum += std::exp(static_cast<double>(all[i].second));
    if (i > 0) {
      EXPECT_LE(all[i].second, all[i - 1].second);
    }
  }
  EXPECT_NEAR(sum, 1, 1e-4);
  const auto top = stream.top_logprobs(5);
  ASSERT_EQ(top.size(), 5u);
  EXPECT_TRUE(std::equal(top.begin(), top.end(), all.begin()));
  EXPECT_TRUE(stream.top_logprobs(0).empty());
  const Stream::Step step = stream.next();
  EXPECT_EQ(step.token, top[0].first);
  EXPECT_EQ(step.log_probability, top[0].second);
}

TEST(Attention, OfSeveralTokensIsThatOfEachAlone) {
  for (const std::optional<std::int64_t> window : {std::optional<std::int64_t>(12), {}}) {
    Stream stream = copied_model().open({.window = window});
    stream.feed(kOpening);
    const std::vector<Token> more = {700, 800, 900, 1000, 1100};
    std::vector<Stream::Attention> alone;
    for (const Token token : more) {
      stream.push(token);
      alone.push_back(stream.attention());
    }
    const Stream::Attention together = stream.attention(5);
    const auto n_rows = static_cast<std::size_t>(together.layers * together.heads);
    for (std::size_t q = 0; q < more.size(); ++q) {
      ASSERT_EQ(together.queries[q], alone[q].queries[0]);
      for (std::size_t row = 0; row < n_rows; ++row) {
        for (std::size_t k = 0; k < together.positions.size(); ++k) {
          const auto found = std::ranges::find(alone[q].positions, together.positions[k]);
          const auto at = static_cast<std::size_t>(found - alone[q].positions.begin());
          const float want = found == alone[q].positions.end()
                                 ? 0
                                 : alone[q].weights[row * alone[q].positions.size() + at];
          ASSERT_EQ(together.weights[(q * n_rows + row) * together.positions.size() + k], want);
        }
      }
    }
  }
}

TEST(Attention, RefusesTokensThatAreNotThere) {
  Stream stream = copied_model().open({.window = 20});
  EXPECT_THROW(stream.attention(), Error);
  stream.feed(kOpening);
  EXPECT_THROW(stream.attention(0), Error);
  EXPECT_THROW(stream.attention(21), Error);
  EXPECT_NO_THROW(stream.attention(20));
}

}  // namespace
}  // namespace runnel
