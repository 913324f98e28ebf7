// Streams by name: parked, brought back, forked and dropped, against streams that never were.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "runnel/runnel.h"
#include "serve/hub/hub.h"
#include "serve/store/store.h"
#include "support/made_models.h"
#include "support/temp_dir.h"

namespace runnel::serve {
namespace {

using Kind = Channel::Kind;

const Model& tiny() {
  static const MadeModel made = test::make(test::tiny_shapes().front());
  static const Model model = Model::load(made.bytes(), "made", {.threads = 1});
  return model;
}

StreamOptions stream_options() { return {.sinks = 4, .window = 40, .chunk = 32}; }

SamplingOptions sampling() { return {.temperature = 1.0f, .seed = 5}; }

std::vector<Token> some_text(std::size_t n) {
  return test::some_tokens(n, tiny().vocabulary_size());
}

std::size_t bytes_of_one() { return tiny().stream_bytes(tiny().resolve(stream_options())); }

// A hub with all that it needs. Where it goes without having been closed, it was killed.
class Served {
 public:
  Served(const std::filesystem::path& folder, HubOptions options, bool is_durable = false)
      : store_(is_durable ? folder : std::filesystem::path()),
        hub_(tiny(), scheduler_, store_, with(std::move(options), folder, is_durable)) {
    scheduler_.begin([this] { hub_.tick(); });
    on_streams([&] { hub_.restore(); });
  }
  ~Served() { scheduler_.stop(); }

  // Does it on the scheduler's thread, and waits.
  void on_streams(const std::function<void()>& work) {
    std::promise<void> done;
    scheduler_.post([&] {
      try {
        work();
        done.set_value();
      } catch (...) {
        done.set_exception(std::current_exception());
      }
    });
    done.get_future().get();
  }
  // A stream whose answer has just ended holds its memory for a moment.
  void open(Kind kind, const std::string& id) {
    wait_until([&] {
      try {
        hub_.open(kind, id, {});
        return true;
      } catch (const Error&) {
        return false;
      }
    });
  }
  // What the stream writes once it has read the text.
  std::string answer(const std::string& id, const std::vector<Token>& text, std::int64_t n_tokens) {
    std::promise<std::string> written;
    on_streams([&] {
      hub_.answer(
          *hub_.find(id),
          {.sampling = sampling(), .seed = 5, .most_tokens = n_tokens, .ends_with_model = false},
          std::make_shared<Collector>(written),
          [text]() -> Channel::Reading { return [text] { return text; }; });
    });
    return written.get_future().get();
  }
  void wait_until(const std::function<bool()>& condition) {
    for (int i = 0; i < 6000; ++i) {
      bool is_so = false;
      on_streams([&] { is_so = condition(); });
      if (is_so) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL() << "it did not happen in time";
  }
  Hub& hub() { return hub_; }
  Store& store() { return store_; }

 private:
  class Collector final : public AnswerListener {
   public:
    explicit Collector(std::promise<std::string>& text) : promise_(text) {}
    void wrote(const Written& written, const Place&) override {
      for (const AnswerEvent& event : written.events) text_ += event.text;
    }
    void ended(const Ending& ending, const Place&) override {
      if (ending.finish == Finish::kFailed) text_ = "failed: " + ending.why;
      promise_.set_value(text_);
    }

   private:
    std::promise<std::string>& promise_;
    std::string text_;
  };
  static HubOptions with(HubOptions options, const std::filesystem::path& folder, bool is_durable) {
    if (!options.stream.window) options.stream = stream_options();
    options.template_name = "plain";
    options.folder = folder;
    options.is_durable = is_durable;
    return options;
  }

  Scheduler scheduler_{{}};
  Store store_;
  Hub hub_;
};

// The same of a stream that nothing happens to.
std::vector<std::string> alone(const std::vector<std::vector<Token>>& texts, std::int64_t n_tokens,
                               const StreamOptions& options = stream_options()) {
  Stream stream = tiny().open(options);
  std::vector<std::string> answers;
  for (const std::vector<Token>& text : texts) {
    SamplingOptions other = sampling();
    ++other.seed;
    stream.set_sampling(other);
    stream.set_sampling(sampling());
    stream.feed(text);
    std::string written;
    for (std::int64_t i = 0; i < n_tokens; ++i) written += stream.next().text;
    answers.push_back(written + stream.flush_text());
  }
  return answers;
}

TEST(Hub, ParksStreamsWhereMemoryIsWantedAndTheyGoOnAsIfNothingHadBeen) {
  const test::TempDir folder;
  Served served(folder.path(), {.memory_bytes = 2 * bytes_of_one()});
  const std::vector<std::vector<Token>> texts = {some_text(90), some_text(20), some_text(55)};
  const std::vector<std::string> wanted = alone(texts, 30);
  for (const char* id : {"a", "b", "c", "d"}) {
    served.open(Kind::kConversation, id);
    EXPECT_EQ(served.answer(id, texts[0], 30), wanted[0]);
  }
  for (std::size_t i = 1; i < texts.size(); ++i) {
    for (const char* id : {"a", "b", "c", "d"})
      EXPECT_EQ(served.answer(id, texts[i], 30), wanted[i]) << id;
  }
  served.on_streams([&] {
    EXPECT_EQ(served.hub().counters().streams, 4u);
    EXPECT_LE(served.hub().counters().bytes, 2 * bytes_of_one());
    EXPECT_GE(served.hub().counters().parked, 8u);
  });
}

TEST(Hub, RefusesAStreamWhoseMemoryCannotBeHad) {
  const test::TempDir folder;
  Served served(folder.path(), {.memory_bytes = bytes_of_one() - 1});
  served.on_streams([&] {
    EXPECT_THROW(served.hub().open(Kind::kConversation, "a", {}), Busy);
    EXPECT_EQ(served.hub().find("a"), nullptr);
  });
}

TEST(Hub, AForkGoesOnAsTheOtherWould) {
  const test::TempDir folder;
  Served served(folder.path(), {.memory_bytes = 8 * bytes_of_one()});
  served.open(Kind::kConversation, "a");
  served.answer("a", some_text(90), 30);
  served.on_streams(
      [&] { served.hub().fork(*served.hub().find("a"), Kind::kConversation, "b", [] {}); });
  EXPECT_EQ(served.answer("a", some_text(9), 30), served.answer("b", some_text(9), 30));
}

TEST(Hub, AForkParksOthersForItsMemoryAndNeverTheStreamItComesFrom) {
  const test::TempDir folder;
  Served served(folder.path(), {.memory_bytes = 2 * bytes_of_one()});
  served.open(Kind::kConversation, "a");
  served.answer("a", some_text(90), 30);
  served.open(Kind::kConversation, "b");
  served.answer("b", some_text(90), 30);
  const auto fork_a = [&](const char* id) {
    served.hub().fork(*served.hub().find("a"), Kind::kConversation, id, [] {});
  };
  served.on_streams([&] {
    fork_a("c");
    EXPECT_EQ(served.hub().find("b")->state, Channel::State::kParking);
    EXPECT_TRUE(served.hub().find("a")->is_idle());
  });
  // All three go on, one at a time, wherever they are meanwhile.
  const std::string wanted = alone({some_text(90), some_text(9)}, 30)[1];
  for (const char* id : {"b", "c", "a"})
    EXPECT_EQ(served.answer(id, some_text(9), 30), wanted) << id;
}

TEST(Hub, AForkWithoutMemoryIsRefusedAndTheStreamIsAsBefore) {
  const test::TempDir folder;
  Served served(folder.path(), {.memory_bytes = bytes_of_one()});
  const std::vector<std::vector<Token>> texts = {some_text(90), some_text(9)};
  const std::vector<std::string> wanted = alone(texts, 30);
  served.open(Kind::kConversation, "a");
  EXPECT_EQ(served.answer("a", texts[0], 30), wanted[0]);
  served.on_streams([&] {
    EXPECT_THROW(served.hub().fork(*served.hub().find("a"), Kind::kConversation, "b", [] {}), Busy);
  });
  EXPECT_EQ(served.answer("a", texts[1], 30), wanted[1]);
}

TEST(Hub, AStreamThatIsNotKeptGoesWithItsAnswerUnlessItIsHeld) {
  const test::TempDir folder;
  Served served(folder.path(), {.memory_bytes = 8 * bytes_of_one()}, true);
  served.open(Kind::kPassing, "passing");
  served.answer("passing", some_text(20), 5);
  served.wait_until([&] { return served.hub().find("passing") == nullptr; });
  served.open(Kind::kPassing, "held");
  served.on_streams([&] { served.hub().find("held")->is_held = true; });
  served.answer("held", some_text(20), 5);
  served.answer("held", some_text(20), 5);
  served.on_streams([&] {
    EXPECT_TRUE(served.store().streams().empty());
    EXPECT_TRUE(served.store().tokens("held", 0).empty());
    served.hub().release(*served.hub().find("held"));
    EXPECT_EQ(served.hub().find("held"), nullptr);
    EXPECT_EQ(served.hub().counters().bytes, 0u);
  });
  for (const auto& file : std::filesystem::directory_iterator(folder.path()))
    EXPECT_NE(file.path().extension(), ".state") << file.path();
}

TEST(Hub, DropsTheLongestParkedStreamsThatHaveNoName) {
  const test::TempDir folder;
  Served served(folder.path(),
                {.memory_bytes = bytes_of_one(), .parked_bytes = 2 * bytes_of_one()});
  served.open(Kind::kConversation, "named");
  for (const char* id : {"a", "b", "c", "d", "e"}) {
    served.open(Kind::kCompletion, id);
    served.answer(id, some_text(20), 5);
  }
  // One is awake and two may be parked, besides the one that has a name.
  served.wait_until([&] { return served.hub().counters().streams == 4; });
  served.on_streams([&] {
    EXPECT_EQ(served.hub().find("a"), nullptr);
    EXPECT_NE(served.hub().find("e"), nullptr);
    EXPECT_NE(served.hub().find("named"), nullptr);
  });
}

TEST(Hub, AStreamGoesWithTheLastResponseThatLeadsToIt) {
  const test::TempDir folder;
  Served served(folder.path(), {.memory_bytes = 8 * bytes_of_one()});
  served.open(Kind::kChain, "chain");
  served.answer("chain", some_text(20), 5);
  served.on_streams([&] {
    served.hub().find("chain")->head = "last";
    served.hub().forget_response("earlier", "chain");
    EXPECT_NE(served.hub().find("chain"), nullptr);
    served.hub().forget_response("last", "chain");
    EXPECT_EQ(served.hub().find("chain"), nullptr);
    EXPECT_EQ(served.hub().counters().bytes, 0u);
  });
}

TEST(Hub, WhatIsKeptOfAnAnswerWithoutEndStaysSmallAndAfterAKillItGoesOn) {
  const test::TempDir folder;
  const std::vector<std::vector<Token>> texts = {some_text(90), some_text(30)};
  const HubOptions options = {.memory_bytes = 8 * bytes_of_one()};
  const std::vector<std::string> wanted = alone(texts, 10000);
  {
    Served served(folder.path(), options, true);
    served.open(Kind::kConversation, "a");
    EXPECT_EQ(served.answer("a", texts[0], 10000), wanted[0]);
    served.wait_until([&] { return served.store().begin_of_tokens("a") > 0; });
    const auto n_kept = served.store().end_of_tokens("a") - served.store().begin_of_tokens("a");
    EXPECT_LT(n_kept, 2 * 4096);
    EXPECT_EQ(static_cast<std::int64_t>(served.store().tokens("a", 0).size()), n_kept);
  }
  Served served(folder.path(), options, true);
  EXPECT_EQ(served.answer("a", texts[1], 10000), wanted[1]);
}

TEST(Hub, AStreamGoesOnAfterAKillAsItWasOpenedWhateverTheServerOpensNow) {
  const test::TempDir folder;
  const std::vector<std::vector<Token>> texts = {some_text(90), some_text(30)};
  HubOptions options = {.memory_bytes = 8 * bytes_of_one()};
  options.stream = {.sinks = 4,
                    .window = 40,
                    .layer_windows = {12, 40},
                    .kv_type = KvType::kQ8_0,
                    .softmax = Softmax::kOffByOne,
                    .chunk = 32};
  const std::vector<std::string> wanted = alone(texts, 60, options.stream);
  ASSERT_NE(wanted, alone(texts, 60));
  {
    Served served(folder.path(), options, true);
    served.open(Kind::kConversation, "a");
    EXPECT_EQ(served.answer("a", texts[0], 60), wanted[0]);
  }
  options.stream = {.sinks = 6, .window = 40, .layer_windows = {40, 20}, .chunk = 32};
  Served served(folder.path(), options, true);
  EXPECT_EQ(served.answer("a", texts[1], 60), wanted[1]);
}

}  // namespace
}  // namespace runnel::serve
