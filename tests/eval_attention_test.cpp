// Attention studies against attention computed plainly from the weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "engine/internals.h"
#include "eval/attention.h"
#include "eval/attention_section.h"
#include "support/error_text.h"
#include "support/parameters.h"
#include "support/paths.h"

namespace runnel::eval {
namespace {

const Model& tiny() {
  static const Model model = Model::load(test::fixture("models/llama-gqa.gguf"), {.threads = 2});
  return model;
}

std::vector<Token> some_tokens(int n, int seed = 0) {
  std::vector<Token> tokens = {1};
  for (int i = 1; i < n; ++i) tokens.push_back((i * i * 7 + seed * 31) % 509);
  return tokens;
}

using Row = std::vector<double>;

// y = W x for an F32 matrix.
Row multiply(const Matrix& w, const Row& x) {
  const auto* values = reinterpret_cast<const float*>(w.data);
  Row y(static_cast<std::size_t>(w.rows), 0.0);
  for (std::size_t r = 0; r < y.size(); ++r)
    for (std::size_t c = 0; c < x.size(); ++c)
      y[r] += static_cast<double>(values[r * x.size() + c]) * x[c];
  return y;
}

// Rotates one head of llama, whose pairs are neighbours, by its position.
void rotate(Row& head, double position, const std::vector<double>& frequencies) {
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = position * frequencies[i];
    const double a = head[2 * i];
    const double b = head[2 * i + 1];
    head[2 * i] = a * std::cos(angle) - b * std::sin(angle);
    head[2 * i + 1] = a * std::sin(angle) + b * std::cos(angle);
  }
}

// The first layer's attention [query][key] of one head, with keys and queries rotated at their
// positions inside the cache, as the paper does it.
std::vector<Row> plain_attention(const std::vector<Token>& tokens, int head,
                                 const CachePolicy& policy, double added_to_denominator) {
  const Model::Internals& model = tiny().internals();
  const Config& c = model.config;
  const LayerWeights& w = model.weights.layers.front();
  const auto* embeddings = reinterpret_cast<const float*>(model.weights.embeddings.data);
  const auto head_dim = static_cast<std::size_t>(c.head_dim);
  const auto head_of = [&](const Row& all, int index) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(index) * c.head_dim;
    return Row(first, first + c.head_dim);
  };
  std::vector<Row> queries;
  std::vector<Row> keys;
  for (const Token token : tokens) {
    Row x(static_cast<std::size_t>(c.dim));
    double squares = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<double>(embeddings[static_cast<std::size_t>(token) * x.size() + i]);
      squares += x[i] * x[i];
    }
    const double scale = 1 / std::sqrt(squares / c.dim + static_cast<double>(c.norm_epsilon));
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] *= scale * static_cast<double>(w.attention_norm.weight[i]);
    queries.push_back(head_of(multiply(w.q.weight, x), head));
    keys.push_back(head_of(multiply(w.k.weight, x), head / (c.n_heads / c.n_kv_heads)));
  }
  std::vector<Row> attention;
  for (std::size_t q = 0; q < tokens.size(); ++q) {
    Row weights(tokens.size(), 0.0);
    double sum = added_to_denominator;
    double place = 0;  // inside the cache
    for (std::size_t k = 0; k <= q; ++k) {
      const auto query = static_cast<std::int64_t>(q);
      const auto key = static_cast<std::int64_t>(k);
      if (key >= policy.sinks && query - key > policy.window) continue;
      Row rotated_key = keys[k];
      Row rotated_query = queries[q];
      rotate(rotated_key, place++, c.rope.frequencies);
      rotate(rotated_query, static_cast<double>(policy.cache_position(query)), c.rope.frequencies);
      const double score =
          std::inner_product(rotated_key.begin(), rotated_key.end(), rotated_query.begin(), 0.0);
      weights[k] = std::exp(score / std::sqrt(static_cast<double>(head_dim)));
      sum += weights[k];
    }
    for (double& weight : weights) weight /= sum;
    attention.push_back(weights);
  }
  return attention;
}

struct StudyCase {
  const char* name;
  StreamOptions stream;
  CachePolicy policy;
};
void PrintTo(const StudyCase& c, std::ostream* out) { *out << c.name; }

class PlainAttention : public testing::TestWithParam<StudyCase> {};

TEST_P(PlainAttention, IsWhatTheStudyFinds) {
  const StudyCase& c = GetParam();
  const std::vector<Token> tokens = some_tokens(24);
  AttentionStudy study(tiny(), {.stream = c.stream, .length = 24, .keeps_heads = true});
  study.add(tokens);
  const double added = c.stream.softmax == Softmax::kOffByOne ? 1 : 0;
  for (int head = 0; head < study.n_heads(); ++head) {
    const std::vector<Row> want = plain_attention(tokens, head, c.policy, added);
    const std::vector<float> map = study.head_map(0, head);
    for (std::size_t q = 0; q < tokens.size(); ++q)
      for (std::size_t k = 0; k < tokens.size(); ++k)
        ASSERT_NEAR(static_cast<double>(map[q * tokens.size() + k]), want[q][k], 1e-5)
            << "head " << head << " query " << q << " key " << k;
  }
}

StreamOptions options_with(Policy policy, int sinks, std::int64_t window,
                           Softmax softmax = Softmax::kStandard) {
  return {.policy = policy,
          .sinks = sinks,
          .window = window,
          .kv_type = KvType::kF32,
          .softmax = softmax,
          .chunk = 7};
}

INSTANTIATE_TEST_SUITE_P(
    Every, PlainAttention,
    testing::Values(
        StudyCase{"dense", options_with(Policy::kDense, 0, 9), {0, kUnbounded}},
        StudyCase{"window", options_with(Policy::kWindow, 0, 9), {0, 9}},
        StudyCase{"sinks", options_with(Policy::kSink, 3, 6), {3, 6}},
        StudyCase{"off_by_one", options_with(Policy::kSink, 3, 6, Softmax::kOffByOne), {3, 6}}),
    test::ByParameter());

TEST(AttentionStudy, AveragesTheHeadsAndTheTexts) {
  const AttentionOptions options = {.length = 12, .keeps_heads = true};
  AttentionStudy both(tiny(), options);
  AttentionStudy first(tiny(), options);
  AttentionStudy second(tiny(), options);
  first.add(some_tokens(12, 1));
  second.add(some_tokens(12, 2));
  both.add(some_tokens(12, 1));
  both.add(some_tokens(12, 2));
  for (int layer = 0; layer < both.n_layers(); ++layer) {
    std::vector<double> heads(144, 0.0);
    for (int head = 0; head < both.n_heads(); ++head) {
      const auto a = first.head_map(layer, head);
      const auto b = second.head_map(layer, head);
      const auto mean = both.head_map(layer, head);
      for (std::size_t i = 0; i < mean.size(); ++i) {
        ASSERT_NEAR(mean[i], (a[i] + b[i]) / 2, 1e-6);
        heads[i] += static_cast<double>(mean[i]) / both.n_heads();
      }
    }
    const auto map = both.layer_map(layer);
    for (std::size_t i = 0; i < map.size(); ++i) ASSERT_NEAR(map[i], heads[i], 1e-6);
  }
}

double row_of(const std::vector<float>& map, int length, int query) {
  const auto first = map.begin() + static_cast<std::ptrdiff_t>(query) * length;
  return std::accumulate(first, first + length, 0.0);
}

TEST(AttentionStudy, HasRowsThatSumToOneOrToLessOffByOne) {
  for (const Softmax softmax : {Softmax::kStandard, Softmax::kOffByOne}) {
    AttentionStudy study(tiny(),
                         {.stream = options_with(Policy::kSink, 4, 12, softmax), .length = 40});
    study.add(some_tokens(40));
    for (int layer = 0; layer < study.n_layers(); ++layer) {
      for (int query = 0; query < 40; ++query) {
        const double sum = row_of(study.layer_map(layer), 40, query);
        if (softmax == Softmax::kStandard) {
          ASSERT_NEAR(sum, 1, 1e-5);
        } else {
          ASSERT_LT(sum, 1);
          ASSERT_GT(sum, 0);
        }
      }
      for (int head = 0; head < study.n_heads(); ++head)
        ASSERT_EQ(study.row_sum(layer, head) < 0.99999, softmax == Softmax::kOffByOne);
    }
  }
}

TEST(AttentionStudy, SharesAreThoseOfTheMaps) {
  AttentionStudy study(tiny(), {.length = 20, .first_tokens = 3, .keeps_heads = true});
  study.add(some_tokens(20));
  const auto map = study.head_map(1, 2);
  for (int k = 1; k <= 3; ++k) {
    double sum = 0;
    for (int query = 10; query < 20; ++query)
      for (int key = 0; key < k; ++key) sum += map[static_cast<std::size_t>(query * 20 + key)];
    EXPECT_NEAR(study.share(1, 2, k), sum / 10, 1e-6);
  }
  // Queries 10 to 19 see 11 to 20 tokens.
  double even = 0;
  for (int n = 11; n <= 20; ++n) even += 0.1 / n;
  EXPECT_NEAR(study.even_share(1), even, 1e-12);
}

TEST(AttentionStudy, RefusesMapsThatAreTooLarge) {
  const AttentionOptions options = {.length = 512, .keeps_heads = true, .most_bytes = 1 << 20};
  EXPECT_NE(test::error_of([&] { AttentionStudy(tiny(), options); }).find("shorter"),
            std::string::npos);
  AttentionStudy study(tiny(), {.length = 12});
  EXPECT_THROW(study.add(some_tokens(11)), Error);
}

TEST(SentenceWindows, BeginWithSentencesAndHaveOneLength) {
  const Model model = Model::load(test::bundled_model(), {.vocabulary_only = true});
  std::string text;
  for (int i = 0; i < 60; ++i)
    text += "It was a dark and stormy night. The old man sat by the fire and said nothing. ";
  const auto windows = sentence_windows(model, text, 8, 16);
  ASSERT_FALSE(windows.empty());
  for (const auto& window : windows) {
    ASSERT_EQ(window.size(), 16u);
    const std::string words = model.detokenize(window);
    EXPECT_TRUE(words.starts_with("It was") || words.starts_with("The old")) << words;
  }
}

TEST(AttentionStudy, FindsTheSinkOfTheBundledModel) {
  const Model model = Model::load(test::bundled_model(), {.threads = 2});
  AttentionStudy study(model, {.length = 64});
  const std::string text =
      "The rain had stopped. He walked along the river for an hour and thought of his brother who "
      "had gone away. She would not come with him to the house on the hill, and he knew it well. "
      "There was nothing to be done about it but to wait until the morning. The road was long and "
      "empty, and there was no light in any of the windows. ";
  for (const auto& window : sentence_windows(model, text + text + text, 4, 64)) study.add(window);
  ASSERT_GT(study.n_texts(), 1);
  const auto share_of_layer = [&](int layer) {
    double sum = 0;
    for (int head = 0; head < study.n_heads(); ++head) sum += study.share(layer, head, 1);
    return sum / study.n_heads();
  };
  for (int layer = 3; layer < study.n_layers(); ++layer) EXPECT_GT(share_of_layer(layer), 0.2);
  EXPECT_LT(share_of_layer(1), share_of_layer(3));
  const Section section = attention_section(model, study, {});
  EXPECT_NE(section.verdict.find("every layer rests a fifth"), std::string::npos)
      << section.verdict;
  EXPECT_EQ(section.table.rows.size(), 12u);
}

}  // namespace
}  // namespace runnel::eval
