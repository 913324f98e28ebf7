// The public interface on the bundled model.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>

#include "engine/draft.h"
#include "engine/snapshot.h"
#include "runnel/runnel.h"
#include "support/made_models.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/stream_kinds.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

const Model& bundled(int threads = 1) {
  static const Model one = Model::load(test::bundled_model(), {.threads = 1});
  static const Model two = Model::load(test::bundled_model(), {.threads = 2});
  return threads == 1 ? one : two;
}

constexpr const char* kOpening =
    "The old house stood at the end of the lane, and nobody had lived in it for years.";

std::vector<Token> generate(Stream& stream, int n) {
  std::vector<Token> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(stream.next().token);
  return tokens;
}

// Text-like random tokens: what they are does not matter, that they differ does.
std::vector<Token> random_tokens(std::size_t n) {
  std::mt19937 random(7);
  std::vector<Token> tokens = {1};
  while (tokens.size() < n) tokens.push_back(static_cast<Token>(300 + random() % 3000));
  return tokens;
}

TEST(Stream, GivesTheSameTextForTheSameSeedOnAnyNumberOfThreads) {
  std::vector<std::vector<Token>> texts;
  for (const int threads : {1, 2}) {
    Stream stream = bundled(threads).open({.window = 40, .sampling = {.seed = 11}});
    stream.feed(kOpening);
    texts.push_back(generate(stream, 120));
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST(Stream, GivesAnotherTextForAnotherSeed) {
  std::vector<std::vector<Token>> texts;
  for (const std::uint64_t seed : {1, 2}) {
    Stream stream = bundled().open({.sampling = {.seed = seed}});
    stream.feed(kOpening);
    texts.push_back(generate(stream, 30));
  }
  EXPECT_NE(texts[0], texts[1]);
}

TEST(Stream, KeepsItsMemoryWhileItEvicts) {
  Stream stream = bundled().open({.window = 40});
  const std::size_t bytes = stream.bytes();
  EXPECT_EQ(bytes, bundled().stream_bytes({.window = 40}));
  const std::vector<Token> tokens = random_tokens(1000);
  stream.feed(tokens);
  EXPECT_EQ(stream.bytes(), bytes);
  EXPECT_EQ(stream.position(), 1000);
  EXPECT_EQ(stream.horizon(), 960);
  EXPECT_EQ(stream.evicted(), 1000 - 44);
  const std::vector<Token> visible = stream.visible_tokens();
  ASSERT_EQ(visible.size(), 44u);
  EXPECT_TRUE(std::equal(visible.begin(), visible.begin() + 4, tokens.begin()));
  EXPECT_TRUE(std::equal(visible.begin() + 4, visible.end(), tokens.end() - 40));
}

TEST(Stream, FillsTheTrainedContextByDefault) {
  EXPECT_EQ(bundled().resolve({}).window, 251);
  EXPECT_EQ(bundled().resolve({.policy = Policy::kWindow}).window, 255);
  EXPECT_EQ(bundled().resolve({.sinks = 100}).window, 155);
  EXPECT_THROW(bundled().resolve({.sinks = 255}), Error);
  EXPECT_EQ(bundled().resolve({.sinks = 255, .window = 20}).window, 20);
}

TEST(Stream, NeverEvictsThePinnedText) {
  Stream stream = bundled().open({.window = 30, .pin = kOpening});
  const std::vector<Token> pinned = bundled().tokenize(kOpening);
  ASSERT_GT(pinned.size(), 4u);
  EXPECT_EQ(stream.options().sinks, static_cast<int>(pinned.size()));
  stream.feed(random_tokens(500));
  const std::vector<Token> visible = stream.visible_tokens();
  EXPECT_TRUE(std::equal(pinned.begin(), pinned.end(), visible.begin()));
}

TEST(Stream, PredictsTheSameFromPosition2To33AsFrom0) {
  constexpr std::int64_t kFar = std::int64_t{1} << 33;
  const Model model = Model::load(test::fixture("models/llama-gqa.gguf"));
  std::vector<Token> tokens(200);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<Token>(i * 37 % 509);
  Stream near = model.open({.window = 60, .kv_type = KvType::kF32});
  Stream far = model.open({.window = 60, .kv_type = KvType::kF32, .start_position = kFar});
  near.feed(tokens);
  far.feed(tokens);
  EXPECT_EQ(far.position(), kFar + 200);
  for (std::size_t i = 0; i < near.logits().size(); ++i)
    ASSERT_NEAR(near.logits()[i], far.logits()[i], 1e-4);
}

TEST(Draft, ChangesNoToken) {
  const auto repetitive = [] {
    std::string text;
    for (int i = 0; i < 12; ++i)
      text += "The clock struck, and the old man rose from his chair and went to the door. ";
    return text;
  }();
  for (const float temperature : {0.0f, 0.7f}) {
    std::vector<std::vector<Token>> texts;
    std::vector<std::vector<float>> logits;
    for (const int draft : {0, 1, 8}) {
      Stream stream = bundled().open(
          {.window = 200, .draft = draft, .sampling = {.temperature = temperature, .seed = 4}});
      stream.feed(repetitive);
      texts.push_back(generate(stream, 80));
      stream.feed("And then");
      const std::vector<Token> more = generate(stream, 40);
      texts.back().insert(texts.back().end(), more.begin(), more.end());
      logits.emplace_back(stream.logits().begin(), stream.logits().end());
      EXPECT_EQ(stream.visible_tokens().size(), 204u);
      EXPECT_EQ(stream.guessed() > 0, draft > 0);
      if (temperature == 0) {
        EXPECT_EQ(stream.guessed_right() > 0, draft > 0);
      }
      EXPECT_LE(stream.guessed_right(), stream.guessed());
    }
    EXPECT_EQ(texts[1], texts[0]);
    EXPECT_EQ(texts[2], texts[0]);
    EXPECT_EQ(logits[2], logits[0]);
  }
}

// While it lives this process gets no more large pieces of memory, from the system or the heap. An
// emulator may not keep such a limit, and a sanitizer needs memory of its own.
class NoMoreMemory {
 public:
  NoMoreMemory() {
    ::getrlimit(RLIMIT_AS, &old_);
    if (kIsSanitized) return;
    taken_.reserve(kMostFree);
    rlimit limit = old_;
    limit.rlim_cur = 0;
    ::setrlimit(RLIMIT_AS, &limit);
    while (taken_.size() < kMostFree) {
      auto* p = new (std::nothrow) std::byte[1 << 20];
      if (p == nullptr) break;
      taken_.emplace_back(p);
    }
  }
  ~NoMoreMemory() { ::setrlimit(RLIMIT_AS, &old_); }
  bool is_kept() const { return !kIsSanitized && taken_.size() < kMostFree; }

 private:
  static constexpr bool kIsSanitized = !std::string_view(RUNNEL_SANITIZE).empty();
  static constexpr std::size_t kMostFree = 500;  // MiB that may lie in the heap
  rlimit old_{};
  std::vector<std::unique_ptr<std::byte[]>> taken_;
};

TEST(Draft, GoesOnAfterItsDenseCacheCouldNotGrow) {
  const auto open = [] {
    Stream stream =
        bundled().open({.policy = Policy::kDense, .draft = 6, .sampling = {.temperature = 0}});
    stream.feed(random_tokens(1010));
    generate(stream, 2);  // the first guesses take their room
    return stream;
  };
  Stream stream = open();
  std::vector<Token> tokens;
  {
    const NoMoreMemory none;
    if (!none.is_kept()) GTEST_SKIP() << "no limit of memory here";
    EXPECT_THROW(while (tokens.size() < 30) tokens.push_back(stream.next().token), Error);
  }
  while (tokens.size() < 30) tokens.push_back(stream.next().token);
  Stream never_short = open();
  EXPECT_EQ(tokens, generate(never_short, 30));
}

TEST(Draft, IsWhatFollowedTheLatestEarlierPlace) {
  const std::vector<Token> seen = {1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 7, 1, 2, 3};
  const auto draft = [&](std::size_t pattern, std::size_t most) {
    const auto found = look_up(seen, pattern, most);
    return std::vector<Token>(found.begin(), found.end());
  };
  EXPECT_EQ(draft(3, 2), (std::vector<Token>{5, 6}));
  EXPECT_EQ(draft(3, 99), (std::vector<Token>{5, 6, 7, 1, 2, 3}));
  EXPECT_EQ(draft(4, 5), (std::vector<Token>{}));
  EXPECT_EQ(draft(14, 5), (std::vector<Token>{}));
}

TEST(Draft, IsAsLongAsGuessesWereRight) {
  DraftLength length(8);
  EXPECT_EQ(length.take(), 8);
  length.learn(8, 2);
  EXPECT_EQ(length.take(), 5);
  length.learn(5, 5);
  EXPECT_EQ(length.take(), 8);
}

TEST(Draft, RestsLongerEachTimeThatNoneWasRight) {
  DraftLength length(2);
  for (const int rest : {1, 3, 7, 15, 31, 31}) {
    length.learn(1, 0);
    for (int i = 0; i < rest; ++i) EXPECT_EQ(length.take(), 0);
    EXPECT_EQ(length.take(), 1);
  }
  length.learn(1, 1);
  EXPECT_EQ(length.take(), 2);
  length.learn(2, 0);
  EXPECT_EQ(length.take(), 0);
  EXPECT_EQ(length.take(), 1);
}

TEST(Together, StreamsGetWhatTheyGetAlone) {
  const auto open_all = [] {
    std::vector<Stream> streams;
    streams.push_back(bundled(2).open({.window = 30, .sampling = {.seed = 1}}));
    streams.push_back(
        bundled(2).open({.window = 90, .kv_type = KvType::kQ8_0, .sampling = {.seed = 2}}));
    streams.push_back(
        bundled(2).open({.policy = Policy::kDense, .draft = 4, .sampling = {.temperature = 0}}));
    streams.push_back(
        bundled(2).open({.policy = Policy::kRecompute, .window = 10, .sampling = {.seed = 3}}));
    for (Stream& stream : streams) stream.feed(kOpening);
    return streams;
  };
  std::vector<Stream> alone = open_all();
  std::vector<Stream> together = open_all();
  std::vector<Stream*> pointers;
  for (Stream& stream : together) pointers.push_back(&stream);
  for (int i = 0; i < 60; ++i) {
    const std::vector<Stream::Step> steps = Stream::next(pointers);
    for (std::size_t s = 0; s < alone.size(); ++s) {
      const Stream::Step want = alone[s].next();
      ASSERT_EQ(steps[s].token, want.token) << "stream " << s << " at " << i;
      ASSERT_EQ(steps[s].text, want.text);
      ASSERT_EQ(steps[s].log_probability, want.log_probability);
    }
  }
  pointers.push_back(pointers.front());
  EXPECT_THROW(Stream::next(pointers), Error);
}

TEST(Together, NoStreamMovesWhenOneCannot) {
  const MadeModel made = test::make(find_shape("tiny", "llama"));
  const Model model = Model::load(made.bytes(), "made");
  const auto open = [&] {
    Stream stream = model.open({.window = 20});
    stream.feed(test::some_tokens(30, model.vocabulary_size()));
    return stream;
  };
  Stream stream = open();
  Stream twin = open();
  Stream full = model.open({.policy = Policy::kDense});
  full.feed(test::some_tokens(1024, model.vocabulary_size()));
  {
    const NoMoreMemory none;
    if (!none.is_kept()) GTEST_SKIP() << "no limit of memory here";
    EXPECT_THROW(Stream::next(std::array{&stream, &full}), Error);
  }
  EXPECT_EQ(generate(stream, 8), generate(twin, 8));
}

TEST(Stream, TakesTheBytesThatAreForetold) {
  for (const StreamOptions& options :
       {StreamOptions{.window = 60}, StreamOptions{.policy = Policy::kDense, .chunk = 4096},
        StreamOptions{.policy = Policy::kRecompute, .window = 100}}) {
    EXPECT_EQ(bundled().open(options).bytes(), bundled().stream_bytes(options));
  }
}

TEST(Stream, RecomputesAfterAChunkWhatSingleTokensWouldHave) {
  const std::vector<Token> tokens = test::some_tokens(90, bundled().vocabulary_size());
  const StreamOptions options = {.policy = Policy::kRecompute, .window = 20, .chunk = 33};
  Stream together = bundled().open(options);
  together.feed(tokens);
  Stream alone = bundled().open(options);
  for (const Token token : tokens) alone.feed(std::array{token});
  EXPECT_TRUE(std::ranges::equal(together.logits(), alone.logits()));
  EXPECT_EQ(together.visible_tokens(), alone.visible_tokens());
  EXPECT_EQ(generate(together, 8), generate(alone, 8));
}

class SavedStream : public testing::TestWithParam<test::StreamKind> {};

TEST_P(SavedStream, ContinuesWithTheTokensItWouldHaveProduced) {
  const test::TempDir folder;
  const std::filesystem::path path = folder / "saved.stream";
  Stream stream = bundled().open(GetParam().options);
  stream.feed(kOpening);
  generate(stream, 90);
  stream.save(path);
  Stream resumed = bundled(2).resume(path);
  EXPECT_EQ(resumed.position(), stream.position());
  EXPECT_EQ(resumed.visible_tokens(), stream.visible_tokens());
  std::string text;
  std::string resumed_text;
  for (int i = 0; i < 90; ++i) {
    const Stream::Step want = stream.next();
    const Stream::Step got = resumed.next();
    ASSERT_EQ(got.token, want.token) << "at " << i;
    ASSERT_EQ(got.text, want.text);
    ASSERT_EQ(got.log_probability, want.log_probability);
  }
}

INSTANTIATE_TEST_SUITE_P(Every, SavedStream, testing::ValuesIn(test::stream_kinds()),
                         test::ByParameter());

TEST(SavedStream, KnowsWhatWasPinned) {
  const test::TempDir folder;
  const std::filesystem::path path = folder / "pinned.stream";
  Stream stream = bundled().open({.window = 20, .pin = "Call me Ishmael, a sailor of the sea."});
  generate(stream, 60);
  stream.save(path);
  EXPECT_EQ(bundled().resume(path).options().pin_tokens, stream.options().pin_tokens);
}

TEST(SavedStream, IsRefusedWhenDamagedOrForeign) {
  const test::TempDir folder;
  const std::filesystem::path path = folder / "damaged.stream";
  Stream stream = bundled().open({.window = 20});
  stream.feed(kOpening);
  stream.save(path);
  std::string bytes;
  {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto write = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  };
  for (std::size_t at = 0; at < bytes.size(); at += 4999) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 64);
    write(damaged);
    EXPECT_THROW(bundled().resume(path), Error) << "byte " << at;
    write(bytes.substr(0, at));
    EXPECT_THROW(bundled().resume(path), Error) << "cut at " << at;
  }
  EXPECT_THROW(bundled().resume(folder / "absent.stream"), Error);
  write(bytes);
  EXPECT_NO_THROW(bundled().resume(path));
}

TEST(SavedStream, IsRefusedWhenItsFieldsContradictEachOther) {
  const test::TempDir folder;
  const std::filesystem::path path = folder / "saved.stream";
  for (const StreamOptions& options :
       {StreamOptions{.window = 20}, StreamOptions{.policy = Policy::kDense},
        StreamOptions{.policy = Policy::kRecompute, .window = 20}}) {
    Stream stream = bundled().open(options);
    stream.feed(kOpening);
    stream.save(path);
    const auto resume_with = [&](auto change) {
      stream.save(path);
      Snapshot snapshot = read_snapshot(path);
      change(snapshot);
      write_snapshot(path, snapshot, snapshot.cache);
      bundled().resume(path);
    };
    EXPECT_NO_THROW(resume_with([](Snapshot&) {}));
    EXPECT_THROW(resume_with([](Snapshot& s) { s.position = -1; }), Error);
    EXPECT_THROW(resume_with([](Snapshot& s) { s.cache_position = -1000000007; }), Error);
    EXPECT_THROW(resume_with([](Snapshot& s) { s.cache_position = 1 << 30; }), Error);
    EXPECT_THROW(resume_with([](Snapshot& s) { s.visible.pop_back(); }), Error);
    EXPECT_THROW(resume_with([](Snapshot& s) { s.options.kv_type = static_cast<KvType>(9); }),
                 Error);
    EXPECT_THROW(resume_with([](Snapshot& s) { s.options.policy = static_cast<Policy>(-1); }),
                 Error);
    EXPECT_THROW(resume_with([](Snapshot& s) { s.options.softmax = static_cast<Softmax>(7); }),
                 Error);
    if (options.policy != Policy::kDense) continue;
    EXPECT_THROW(resume_with([](Snapshot& s) { s.cache_capacity = std::int64_t{1} << 60; }), Error);
    EXPECT_THROW(resume_with([](Snapshot& s) { s.cache_capacity = 1; }), Error);
  }
}

TEST(Score, IsTheSameForEveryChunkAndEveryCall) {
  const std::vector<Token> tokens = random_tokens(150);
  const auto score = [&](int chunk, std::size_t first_call) {
    Stream stream = bundled().open({.window = 30, .chunk = chunk});
    const std::span<const Token> all(tokens);
    std::vector<float> values = stream.score(all.first(first_call));
    const std::vector<float> rest = stream.score(all.subspan(first_call));
    values.insert(values.end(), rest.begin(), rest.end());
    return values;
  };
  const std::vector<float> want = score(1, 150);
  EXPECT_EQ(want.size(), 149u);
  for (const int chunk : {3, 64, 256}) EXPECT_EQ(score(chunk, 77), want) << "chunk " << chunk;
}

double mean(const std::vector<float>& values, std::size_t first) {
  double sum = 0;
  for (std::size_t i = first; i < values.size(); ++i) sum += static_cast<double>(values[i]);
  return sum / static_cast<double>(values.size() - first);
}

TEST(Score, HardlyChangesWithTheTypeOfTheCache) {
  const auto text = bundled().tokenize(
      kOpening + std::string(" He had been there once before, as a boy, and remembered the"
                             " garden and the stone steps which went down to the water."));
  const auto score = [&](KvType type) {
    Stream stream = bundled().open({.window = 30, .kv_type = type});
    return mean(stream.score(text), 0);
  };
  const double want = score(KvType::kF32);
  EXPECT_NEAR(score(KvType::kF16), want, 1e-2);
  EXPECT_NEAR(score(KvType::kBF16), want, 2e-2);
  EXPECT_NEAR(score(KvType::kQ8_0), want, 2e-2);
}

TEST(Options, OutOfRangeAreErrorsThatNameThem) {
  const auto message = [&](const StreamOptions& options) -> std::string {
    try {
      bundled().open(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message({.sinks = -1}).find("sinks"), std::string::npos);
  EXPECT_NE(message({.window = 0}).find("window"), std::string::npos);
  EXPECT_NE(message({.chunk = 0}).find("chunk"), std::string::npos);
  EXPECT_NE(message({.sampling = {.top_p = 0}}).find("top-p"), std::string::npos);
  EXPECT_NE(message({.policy = Policy::kWindow, .pin = "x"}).find("pinned"), std::string::npos);
  Stream stream = bundled().open();
  EXPECT_THROW(stream.feed(std::vector<Token>{1, 5000}), Error);
  EXPECT_EQ(stream.position(), 0);
}

}  // namespace
}  // namespace runnel
