// The C interface, as a C++ program sees it; examples/endless.c is what a C program sees.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "runnel/runnel.c.h"
#include "runnel/runnel.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace {

constexpr const char* kOpening = "The old house stood at the end of the lane.";

class CInterface : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    runnel_model_options options;
    runnel_model_options_init(&options, sizeof(options));
    options.threads = 1;
    ASSERT_EQ(runnel_model_load(path().c_str(), &options, &model_), RUNNEL_OK) << runnel_error();
  }
  static void TearDownTestSuite() { runnel_model_close(model_); }
  static std::string path() { return runnel::test::bundled_model().string(); }

  static runnel_stream* open(std::uint64_t seed = 7, std::int64_t window = 40) {
    runnel_sampling sampling;
    runnel_sampling_init(&sampling, sizeof(sampling));
    sampling.seed = seed;
    runnel_stream_options options;
    runnel_stream_options_init(&options, sizeof(options));
    options.window = window;
    options.sampling = &sampling;
    runnel_stream* stream = nullptr;
    EXPECT_EQ(runnel_stream_open(model_, &options, &stream), RUNNEL_OK) << runnel_error();
    EXPECT_EQ(runnel_stream_feed(stream, kOpening, RUNNEL_NUL, nullptr, nullptr, nullptr),
              RUNNEL_OK);
    return stream;
  }
  static std::vector<runnel_token> next(runnel_stream* stream, int n) {
    std::vector<runnel_token> tokens;
    runnel_step step = {.size = sizeof(step)};
    for (int i = 0; i < n; ++i) {
      EXPECT_EQ(runnel_stream_next(stream, &step), RUNNEL_OK) << runnel_error();
      tokens.push_back(step.token);
    }
    return tokens;
  }
  static inline runnel_model* model_ = nullptr;
};

TEST_F(CInterface, GivesTheTokensAndTextOfTheLibrary) {
  const runnel::Model model = runnel::Model::load(path(), {.threads = 1});
  runnel::Stream want = model.open({.window = 40, .sampling = {.seed = 7}});
  want.feed(kOpening);
  runnel_stream* stream = open();
  runnel_step step = {.size = sizeof(step)};
  for (int i = 0; i < 100; ++i) {
    const runnel::Stream::Step want_step = want.next();
    ASSERT_EQ(runnel_stream_next(stream, &step), RUNNEL_OK);
    ASSERT_EQ(step.token, want_step.token) << "at " << i;
    ASSERT_EQ(std::string(step.text, step.text_bytes), want_step.text);
    ASSERT_EQ(step.log_probability, want_step.log_probability);
  }
  runnel_stream_info info = {.size = sizeof(info)};
  ASSERT_EQ(runnel_stream_get_info(stream, &info), RUNNEL_OK);
  EXPECT_EQ(info.position, want.position());
  EXPECT_EQ(info.evicted, want.evicted());
  EXPECT_EQ(info.horizon, want.horizon());
  EXPECT_EQ(info.bytes, want.bytes());
  EXPECT_EQ(info.sinks, 4);
  EXPECT_EQ(info.window, 40);
  const float* logits = nullptr;
  std::size_t n = 0;
  ASSERT_EQ(runnel_stream_logits(stream, &logits, &n), RUNNEL_OK);
  ASSERT_EQ(n, want.logits().size());
  EXPECT_EQ(std::memcmp(logits, want.logits().data(), n * sizeof(float)), 0);
  runnel_stream_close(stream);
}

TEST_F(CInterface, StepsSeveralStreamsAsEachAlone) {
  const std::array together = {open(1), open(2, 90), open(3)};
  const std::array alone = {open(1), open(2, 90), open(3)};
  std::array<runnel_step, 3> steps{};
  steps[0].size = sizeof(runnel_step);
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(runnel_stream_next_batch(together.data(), together.size(), steps.data()), RUNNEL_OK);
    for (std::size_t s = 0; s < alone.size(); ++s) {
      runnel_step want = {.size = sizeof(want)};
      ASSERT_EQ(runnel_stream_next(alone[s], &want), RUNNEL_OK);
      ASSERT_EQ(steps[s].token, want.token);
      ASSERT_STREQ(steps[s].text, want.text);
    }
  }
  const std::array twice = {together[0], together[0]};
  EXPECT_EQ(runnel_stream_next_batch(twice.data(), twice.size(), steps.data()), RUNNEL_ERROR);
  EXPECT_STREQ(runnel_error(), "streams: want each once, found one twice");
  for (runnel_stream* stream : together) runnel_stream_close(stream);
  for (runnel_stream* stream : alone) runnel_stream_close(stream);
}

TEST_F(CInterface, ReadsWithOneStreamWhileAnotherWrites) {
  runnel_stream* reader = open(1);
  runnel_stream* writer = open(2);
  runnel_stream* alone = open(1);
  const std::array<runnel_token, 3> more = {300, 301, 302};
  const std::array<runnel_work, 2> works = {
      {{.size = sizeof(runnel_work), .stream = reader, .tokens = more.data(), .n_tokens = 3},
       {.size = sizeof(runnel_work), .stream = writer}}};
  std::array<runnel_step, 2> steps{};
  steps[0].size = sizeof(runnel_step);
  ASSERT_EQ(runnel_stream_step_batch(works.data(), 2, steps.data()), RUNNEL_OK) << runnel_error();
  runnel_stream* writes_alone = open(2);
  EXPECT_EQ(steps[1].token, next(writes_alone, 1)[0]);
  EXPECT_EQ(steps[0].text_bytes, 0u);
  ASSERT_EQ(runnel_stream_feed_tokens(alone, more.data(), 3, nullptr, nullptr, nullptr), RUNNEL_OK);
  EXPECT_EQ(next(reader, 10), next(alone, 10));
  for (runnel_stream* stream : {reader, writer, alone, writes_alone}) runnel_stream_close(stream);
}

TEST_F(CInterface, WritesJsonOfASchema) {
  runnel_stream* stream = open();
  EXPECT_EQ(runnel_stream_set_json_schema(stream, "{nonsense"), RUNNEL_ERROR);
  ASSERT_EQ(runnel_stream_set_json_schema(stream, R"({"enum": ["yes", "no"]})"), RUNNEL_OK)
      << runnel_error();
  runnel_stream* fork = nullptr;
  ASSERT_EQ(runnel_stream_fork(stream, &fork), RUNNEL_OK);
  for (runnel_stream* s : {stream, fork}) {
    std::string text;
    runnel_step step = {.size = sizeof(step)};
    while (step.end_of_generation == 0 && text.size() < 20) {
      ASSERT_EQ(runnel_stream_next(s, &step), RUNNEL_OK) << runnel_error();
      if (step.end_of_generation == 0) text.append(step.text, step.text_bytes);
    }
    EXPECT_TRUE(text == "\"yes\"" || text == "\"no\"") << text;
  }
  ASSERT_EQ(runnel_stream_set_json_schema(stream, nullptr), RUNNEL_OK);
  EXPECT_EQ(next(stream, 5).size(), 5u);
  runnel_stream_close(stream);
  runnel_stream_close(fork);
}

TEST_F(CInterface, RunsLayersWhereItIsTold) {
  runnel_model_info info = {.size = sizeof(info)};
  ASSERT_EQ(runnel_model_get_info(model_, &info), RUNNEL_OK);
  EXPECT_EQ(info.device_layers, 0);
  runnel_model_options options;
  runnel_model_options_init(&options, sizeof(options));
  EXPECT_EQ(options.device_layers, -1);
  options.device = "tpu";
  runnel_model* model = nullptr;
  EXPECT_EQ(runnel_model_load(path().c_str(), &options, &model), RUNNEL_ERROR);
  EXPECT_STREQ(runnel_error(), "device: want cpu, gpu or opencl:N, found tpu");
  runnel_device* devices = nullptr;
  std::size_t n = 0;
  ASSERT_EQ(runnel_list_devices(&devices, &n), RUNNEL_OK);
  if (n == 0) GTEST_SKIP() << runnel_error();
  options.device = devices[0].id;
  options.device_layers = 1;
  ASSERT_EQ(runnel_model_load(path().c_str(), &options, &model), RUNNEL_OK) << runnel_error();
  ASSERT_EQ(runnel_model_get_info(model, &info), RUNNEL_OK);
  EXPECT_EQ(info.device_layers, 1);
  EXPECT_GT(info.device_bytes, 0u);
  EXPECT_STREQ(info.device, devices[0].name);
  runnel_model_close(model);
  runnel_free(devices);
}

// The bundled model names no softmax, so that its own is the standard one.
TEST_F(CInterface, UsesTheModelsSoftmaxUnlessTold) {
  std::vector<std::vector<runnel_token>> texts;
  for (const std::int32_t softmax :
       {RUNNEL_SOFTMAX_MODEL, RUNNEL_SOFTMAX_STANDARD, RUNNEL_SOFTMAX_OFF_BY_ONE}) {
    runnel_stream_options options;
    runnel_stream_options_init(&options, sizeof(options));
    EXPECT_EQ(options.softmax, RUNNEL_SOFTMAX_MODEL);
    options.softmax = softmax;
    runnel_stream* stream = nullptr;
    ASSERT_EQ(runnel_stream_open(model_, &options, &stream), RUNNEL_OK) << runnel_error();
    runnel_stream_feed(stream, kOpening, RUNNEL_NUL, nullptr, nullptr, nullptr);
    texts.push_back(next(stream, 100));
    runnel_stream_close(stream);
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0], texts[2]);
}

TEST_F(CInterface, ForksSavesAndResumes) {
  const runnel::test::TempDir folder;
  const std::string saved = (folder / "saved.stream").string();
  runnel_stream* stream = open();
  next(stream, 30);
  std::array<runnel_stream*, 3> copies{};
  ASSERT_EQ(runnel_stream_fork(stream, &copies[0]), RUNNEL_OK);
  ASSERT_EQ(runnel_stream_save(stream, saved.c_str()), RUNNEL_OK);
  ASSERT_EQ(runnel_stream_resume(model_, saved.c_str(), &copies[1]), RUNNEL_OK);
  void* bytes = nullptr;
  std::size_t n_bytes = 0;
  ASSERT_EQ(runnel_stream_save_memory(stream, &bytes, &n_bytes), RUNNEL_OK);
  ASSERT_EQ(runnel_stream_resume_memory(model_, bytes, n_bytes, &copies[2]), RUNNEL_OK);
  EXPECT_EQ(runnel_stream_resume_memory(model_, bytes, n_bytes / 2, &copies[2]), RUNNEL_ERROR);
  runnel_free(bytes);
  const std::vector<runnel_token> want = next(stream, 40);
  for (runnel_stream* copy : copies) {
    EXPECT_EQ(next(copy, 40), want);
    runnel_stream_close(copy);
  }
  runnel_stream_close(stream);
}

TEST_F(CInterface, TakesPushedTokensAndTellsTheLikeliest) {
  runnel_stream* stream = open();
  runnel_stream* pushed = open();
  for (const runnel_token token : next(stream, 20)) {
    runnel_step step = {.size = sizeof(step)};
    ASSERT_EQ(runnel_stream_push(pushed, token, &step), RUNNEL_OK);
    EXPECT_EQ(step.token, token);
  }
  EXPECT_EQ(next(pushed, 1).size(), 1u);
  std::array<runnel_token, 5> tokens{};
  std::array<float, 5> logprobs{};
  std::size_t n = 0;
  ASSERT_EQ(runnel_stream_top_logprobs(stream, 5, tokens.data(), logprobs.data(), &n), RUNNEL_OK);
  EXPECT_EQ(n, 5u);
  EXPECT_GE(logprobs[0], logprobs[4]);
  EXPECT_EQ(runnel_stream_push(pushed, 1 << 20, nullptr), RUNNEL_ERROR);
  EXPECT_STREQ(runnel_error(), "token: want 0 to 4095, found 1048576");
  runnel_stream_close(stream);
  runnel_stream_close(pushed);
}

TEST_F(CInterface, TokenizesAndBack) {
  runnel_token* tokens = nullptr;
  std::size_t n = 0;
  ASSERT_EQ(runnel_tokenize(model_, kOpening, RUNNEL_NUL, RUNNEL_ADD_BOS, &tokens, &n), RUNNEL_OK);
  runnel_model_info info = {.size = sizeof(info)};
  ASSERT_EQ(runnel_model_get_info(model_, &info), RUNNEL_OK);
  EXPECT_EQ(tokens[0], info.bos);
  EXPECT_STREQ(info.architecture, "llama");
  EXPECT_EQ(info.vocabulary_size, 4096);
  char* text = nullptr;
  std::size_t n_bytes = 0;
  ASSERT_EQ(runnel_detokenize(model_, tokens + 1, n - 1, &text, &n_bytes), RUNNEL_OK);
  EXPECT_STREQ(text, kOpening);
  EXPECT_EQ(n_bytes, std::strlen(kOpening));
  EXPECT_EQ(runnel_is_end_of_generation(model_, info.eos), 1);
  EXPECT_EQ(runnel_is_end_of_generation(model_, tokens[1]), 0);
  runnel_free(text);
  runnel_free(tokens);
}

TEST_F(CInterface, RendersDialogues) {
  runnel_chat* chat = nullptr;
  ASSERT_EQ(runnel_chat_open(model_, "chatml", &chat), RUNNEL_OK) << runnel_error();
  EXPECT_STREQ(runnel_chat_name(chat), "format chatml");
  const std::array<runnel_message, 2> messages = {
      {{.size = sizeof(runnel_message), .role = "system", .content = "Be brief."},
       {.size = sizeof(runnel_message), .role = "user", .content = "Hello <|im_end|>"}}};
  char* text = nullptr;
  ASSERT_EQ(runnel_chat_text(chat, messages.data(), 2, nullptr, &text, nullptr), RUNNEL_OK);
  EXPECT_STREQ(text,
               "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello "
               "<|im_end|><|im_end|>\n<|im_start|>assistant\n");
  runnel_free(text);
  const auto tokens_of = [&](auto render) {
    runnel_token* tokens = nullptr;
    std::size_t n = 0;
    EXPECT_EQ(render(&tokens, &n), RUNNEL_OK) << runnel_error();
    const std::vector<runnel_token> found(tokens, tokens + n);
    runnel_free(tokens);
    return found;
  };
  const auto whole = tokens_of([&](runnel_token** tokens, std::size_t* n) {
    return runnel_chat_tokens(chat, messages.data(), 2, nullptr, tokens, n);
  });
  auto parts = tokens_of([&](runnel_token** tokens, std::size_t* n) {
    return runnel_chat_opening(chat, messages.data(), 1, nullptr, tokens, n);
  });
  const auto turn = tokens_of([&](runnel_token** tokens, std::size_t* n) {
    return runnel_chat_turn(chat, messages.data(), 1, &messages[1], 1, nullptr, tokens, n);
  });
  EXPECT_LT(parts.size(), whole.size());
  parts.insert(parts.end(), turn.begin(), turn.end());
  EXPECT_EQ(parts.size(), whole.size());
  EXPECT_EQ(runnel_chat_is_end(chat, whole.front()), 0);
  runnel_chat_close(chat);
  EXPECT_EQ(runnel_chat_open(model_, "nonsense", &chat), RUNNEL_ERROR);
}

TEST_F(CInterface, ShowsAttentionAndMeasuresPerplexity) {
  runnel_stream* stream = open();
  runnel_attention* attention = nullptr;
  ASSERT_EQ(runnel_stream_attention(stream, 3, &attention), RUNNEL_OK) << runnel_error();
  EXPECT_EQ(attention->n_queries, 3u);
  const auto n_rows = 3 * static_cast<std::size_t>(attention->layers * attention->heads);
  for (std::size_t row = 0; row < n_rows; ++row) {
    float sum = 0;
    for (std::size_t k = 0; k < attention->n_positions; ++k)
      sum += attention->weights[row * attention->n_positions + k];
    ASSERT_NEAR(sum, 1, 1e-4);
  }
  runnel_free(attention);
  runnel_stream_close(stream);

  runnel_token* tokens = nullptr;
  std::size_t n = 0;
  std::string text;
  for (int i = 0; i < 30; ++i) text += kOpening;
  ASSERT_EQ(runnel_tokenize(model_, text.data(), text.size(), RUNNEL_ADD_BOS, &tokens, &n),
            RUNNEL_OK);
  runnel_stream_options options;
  runnel_stream_options_init(&options, sizeof(options));
  options.window = 20;
  runnel_perplexity* result = nullptr;
  std::int64_t told = -1;
  const auto progress = [](void* user, std::int64_t done, std::int64_t all) {
    *static_cast<std::int64_t*>(user) = done;
    return done <= all ? 0 : 1;
  };
  ASSERT_EQ(runnel_measure_perplexity(model_, tokens, n, &options, 0, progress, &told, &result),
            RUNNEL_OK)
      << runnel_error();
  EXPECT_EQ(result->n, n - 1);
  EXPECT_EQ(result->positions[0], 1);
  EXPECT_GT(told, 0);
  EXPECT_GT(result->mean_nll, 0);
  EXPECT_LT(result->mean_nll, std::log(4096));
  runnel_free(result);
  runnel_free(tokens);
}

TEST_F(CInterface, SaysWhatIsWrong) {
  runnel_model* model = nullptr;
  EXPECT_EQ(runnel_model_load("/nowhere/absent.gguf", nullptr, &model), RUNNEL_FILE_ERROR);
  EXPECT_NE(std::string(runnel_error()).find("/nowhere/absent.gguf"), std::string::npos);
  EXPECT_EQ(runnel_model_load(nullptr, nullptr, &model), RUNNEL_ERROR);
  EXPECT_STREQ(runnel_error(), "path: want a pointer, found NULL");
  runnel_stream* stream = nullptr;
  runnel_stream_options options;
  runnel_stream_options_init(&options, sizeof(options));
  options.policy = 9;
  EXPECT_EQ(runnel_stream_open(model_, &options, &stream), RUNNEL_ERROR);
  EXPECT_STREQ(runnel_error(), "stream option policy: want 0 to 3, found 9");
  EXPECT_EQ(runnel_stream_next(nullptr, nullptr), RUNNEL_ERROR);
  runnel_step step = {.size = 0};
  stream = open();
  EXPECT_EQ(runnel_stream_next(stream, &step), RUNNEL_ERROR);
  EXPECT_STREQ(runnel_error(), "runnel_step: want its size in the first field, found 0");
  runnel_stream_close(stream);
  runnel_stream_close(nullptr);
  runnel_model_close(nullptr);
}

// One token again and again, then the end.
struct Counted {
  runnel_token token;
  runnel_token end;
  int n_left;
  int* n_alive;
};

runnel_constraint counted(const Counted& begin) {
  ++*begin.n_alive;
  return {
      .size = sizeof(runnel_constraint),
      .state = new Counted(begin),
      .allowed =
          [](void* state, std::uint32_t* bits, std::size_t) {
            const auto& s = *static_cast<Counted*>(state);
            const auto token = static_cast<std::uint32_t>(s.n_left > 0 ? s.token : s.end);
            bits[token / 32] |= 1u << (token % 32);
          },
      .accept = [](void* state,
                   runnel_token) { return --static_cast<Counted*>(state)->n_left < -1 ? 1 : 0; },
      .is_complete = [](void* state) { return static_cast<Counted*>(state)->n_left <= 0 ? 1 : 0; },
      .clone = [](void* state) -> void* {
        const auto& s = *static_cast<Counted*>(state);
        ++*s.n_alive;
        return new Counted(s);
      },
      .free =
          [](void* state) {
            --*static_cast<Counted*>(state)->n_alive;
            delete static_cast<Counted*>(state);
          },
  };
}

TEST_F(CInterface, KeepsToAConstraintOfTheCallers) {
  runnel_model_info info = {.size = sizeof(info)};
  ASSERT_EQ(runnel_model_get_info(model_, &info), RUNNEL_OK);
  int n_alive = 0;
  runnel_stream* stream = open();
  const runnel_constraint form = counted({77, info.eos, 3, &n_alive});
  ASSERT_EQ(runnel_stream_set_constraint(stream, &form), RUNNEL_OK) << runnel_error();
  EXPECT_EQ(next(stream, 2), (std::vector<runnel_token>{77, 77}));
  runnel_stream* fork = nullptr;
  ASSERT_EQ(runnel_stream_fork(stream, &fork), RUNNEL_OK);
  EXPECT_EQ(n_alive, 2);
  for (runnel_stream* each : {stream, fork})
    EXPECT_EQ(next(each, 2), (std::vector<runnel_token>{77, info.eos}));
  ASSERT_EQ(runnel_stream_set_constraint(stream, nullptr), RUNNEL_OK);
  EXPECT_EQ(n_alive, 1);
  runnel_stream_close(fork);
  EXPECT_EQ(n_alive, 0);
  runnel_constraint half = {.size = sizeof(half)};
  EXPECT_EQ(runnel_stream_set_constraint(stream, &half), RUNNEL_ERROR);
  EXPECT_STREQ(runnel_error(), "constraint allowed: want a pointer, found NULL");
  runnel_stream_close(stream);
}

TEST_F(CInterface, TakesWindowsByLayerAndACacheOf4Bits) {
  constexpr std::array<std::int64_t, 2> kWindows = {40, 9};
  runnel_stream_options options;
  runnel_stream_options_init(&options, sizeof(options));
  std::uint64_t plain = 0, small = 0;
  ASSERT_EQ(runnel_stream_bytes(model_, &options, &plain), RUNNEL_OK);
  options.layer_windows = kWindows.data();
  options.n_layer_windows = kWindows.size();
  options.kv_type = RUNNEL_KV_Q4_0;
  ASSERT_EQ(runnel_stream_bytes(model_, &options, &small), RUNNEL_OK) << runnel_error();
  EXPECT_LT(small, plain);
  runnel_stream* stream = nullptr;
  ASSERT_EQ(runnel_stream_open(model_, &options, &stream), RUNNEL_OK) << runnel_error();
  runnel_stream_info info = {.size = sizeof(info)};
  ASSERT_EQ(runnel_stream_get_info(stream, &info), RUNNEL_OK);
  EXPECT_EQ(info.kv_type, RUNNEL_KV_Q4_0);
  EXPECT_EQ(info.window, 40);
  EXPECT_EQ(info.least_window, 9);
  EXPECT_EQ(info.kv_rotate, 1);
  EXPECT_EQ(next(stream, 60).size(), 60u);
  runnel_stream_close(stream);
}

TEST_F(CInterface, TokenizesAsAStreamWouldReadIt) {
  runnel_stream* stream = nullptr;
  ASSERT_EQ(runnel_stream_open(model_, nullptr, &stream), RUNNEL_OK);
  std::int64_t n_fed = 0;
  for (const char* text : {"It was", " a dark night"}) {
    runnel_token* tokens = nullptr;
    std::size_t n = 0;
    ASSERT_EQ(runnel_stream_tokenize(stream, text, RUNNEL_NUL, &tokens, &n), RUNNEL_OK);
    runnel_free(tokens);
    ASSERT_EQ(runnel_stream_feed(stream, text, RUNNEL_NUL, nullptr, nullptr, &n_fed), RUNNEL_OK);
    EXPECT_EQ(n_fed, static_cast<std::int64_t>(n));
  }
  runnel_stream_close(stream);
}

TEST_F(CInterface, KeepsPackedWeightsWhereItIsTold) {
  const runnel::test::TempDir folder;
  const std::string cache = (folder / "packed").string();
  runnel_model_options options;
  runnel_model_options_init(&options, sizeof(options));
  options.packed_cache = cache.c_str();
  for (int i = 0; i < 2; ++i) {
    runnel_model* model = nullptr;
    ASSERT_EQ(runnel_model_load(path().c_str(), &options, &model), RUNNEL_OK) << runnel_error();
    runnel_model_close(model);
    EXPECT_TRUE(std::filesystem::exists(cache));
  }
}

TEST_F(CInterface, StopsALongCallWhereItsProgressSays) {
  runnel_stream* stream = open();
  std::int64_t n_fed = 0;
  const std::vector<runnel_token> tokens(1000, 300);
  const auto stop = [](void*, std::int64_t done, std::int64_t) { return done >= 512 ? 1 : 0; };
  ASSERT_EQ(runnel_stream_feed_tokens(stream, tokens.data(), tokens.size(), stop, nullptr, &n_fed),
            RUNNEL_OK);
  EXPECT_EQ(n_fed, 512);
  runnel_stream_close(stream);
  runnel_model_options options;
  runnel_model_options_init(&options, sizeof(options));
  options.progress = [](void*, std::int64_t, std::int64_t) { return 1; };
  runnel_model* model = nullptr;
  EXPECT_EQ(runnel_model_load(path().c_str(), &options, &model), RUNNEL_ERROR);
  EXPECT_NE(std::string(runnel_error()).find("loading was stopped at"), std::string::npos);
}

// An older program's struct ends before the newest fields; a newer one's goes on behind those that
// this library knows.
TEST_F(CInterface, TakesStructsOfOtherVersions) {
  runnel_stream* stream = nullptr;
  struct {
    runnel_stream_options options;
    std::int64_t newer;
  } longer = {};
  runnel_stream_options_init(&longer.options, sizeof(longer));
  EXPECT_EQ(longer.options.size, sizeof(longer));
  EXPECT_EQ(runnel_stream_open(model_, &longer.options, &stream), RUNNEL_OK) << runnel_error();
  runnel_stream_close(stream);
  longer.newer = 1;
  EXPECT_EQ(runnel_stream_open(model_, &longer.options, &stream), RUNNEL_ERROR);

  runnel_stream_options shorter;
  runnel_stream_options_init(&shorter, sizeof(shorter));
  shorter.size = offsetof(runnel_stream_options, window);
  shorter.sinks = 2;
  shorter.window = -77;  // not read
  ASSERT_EQ(runnel_stream_open(model_, &shorter, &stream), RUNNEL_OK) << runnel_error();
  runnel_step step = {.size = offsetof(runnel_step, text), .text = "untouched"};
  ASSERT_EQ(runnel_stream_next(stream, &step), RUNNEL_OK);
  EXPECT_STREQ(step.text, "untouched");
  runnel_stream_info info = {.size = sizeof(info)};
  runnel_stream_get_info(stream, &info);
  EXPECT_EQ(info.sinks, 2);
  runnel_stream_close(stream);
}

TEST_F(CInterface, LetsAModelGoBeforeItsStreams) {
  runnel_model* model = nullptr;
  ASSERT_EQ(runnel_model_load(path().c_str(), nullptr, &model), RUNNEL_OK);
  runnel_stream* stream = nullptr;
  ASSERT_EQ(runnel_stream_open(model, nullptr, &stream), RUNNEL_OK);
  runnel_model_close(model);
  EXPECT_EQ(next(stream, 3).size(), 3u);
  runnel_stream_close(stream);
}

// What a program was compiled with stays where it is: fields are only ever added at the end.
TEST(CLayout, StaysAsItIs) {
  EXPECT_EQ(offsetof(runnel_model_options, user), 24u);
  EXPECT_EQ(offsetof(runnel_model_info, weight_bytes), 56u);
  EXPECT_EQ(offsetof(runnel_model_options, exact), 44u);
  EXPECT_EQ(offsetof(runnel_model_info, device_bytes), 80u);
  EXPECT_EQ(offsetof(runnel_model_options, packed_cache), 56u);
  EXPECT_EQ(offsetof(runnel_model_info, device_seconds), 96u);
  EXPECT_EQ(offsetof(runnel_constraint, free), 48u);
  EXPECT_EQ(offsetof(runnel_device, largest_buffer_bytes), 40u);
  EXPECT_EQ(offsetof(runnel_work, n_tokens), 24u);
  EXPECT_EQ(offsetof(runnel_sampling, seed), 40u);
  EXPECT_EQ(offsetof(runnel_stream_options, sampling), 80u);
  EXPECT_EQ(offsetof(runnel_stream_options, kv_rotate), 104u);
  EXPECT_EQ(offsetof(runnel_stream_info, kv_rotate), 88u);
  EXPECT_EQ(offsetof(runnel_step, log_probability), 32u);
  EXPECT_EQ(offsetof(runnel_stream_info, chunk), 76u);
  EXPECT_EQ(offsetof(runnel_attention, weights), 40u);
  EXPECT_EQ(offsetof(runnel_perplexity, seconds), 48u);
  EXPECT_EQ(offsetof(runnel_tool_call, arguments), 24u);
  EXPECT_EQ(offsetof(runnel_message, name), 56u);
  EXPECT_EQ(offsetof(runnel_chat_options, variables), 24u);
}

}  // namespace
