// StreamEval with a scripted answerer that knows exactly what is within its horizon.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "eval/streameval.h"
#include "support/error_text.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel::eval {
namespace {

// Reads characters as tokens, remembers the last `memory` of them, and answers a query with the
// value of the line when that line is still whole in its memory; else with a wrong one.
class Scripted final : public Answerer {
 public:
  explicit Scripted(std::int64_t memory) : memory_(memory) {}

  void read(std::string_view text) override { text_ += text; }
  std::string answer() override {
    const std::size_t query = text_.rfind("Query: ") + 7;
    const std::string asked = text_.substr(query) + " <";
    const auto first = static_cast<std::size_t>(horizon());
    const std::string seen = text_.substr(first, query - first);
    const std::size_t at = seen.find(asked);
    const std::string said =
        at == std::string::npos
            ? " <none>"
            : " <" + seen.substr(at + asked.size(), seen.find('>', at) - at - asked.size()) + ">";
    text_ += said;
    return said;
  }
  std::size_t choose(std::span<const std::string> labels) override {
    // Knows the choice marked as right when it still sees it.
    const std::string seen = text_.substr(static_cast<std::size_t>(horizon()));
    for (std::size_t i = 0; i < labels.size(); ++i)
      if (seen.find(labels[i] + ". right") != std::string::npos) return i;
    return 0;
  }
  std::int64_t position() const override { return static_cast<std::int64_t>(text_.size()); }
  std::int64_t horizon() const override { return std::max<std::int64_t>(0, position() - memory_); }

 private:
  std::int64_t memory_;
  std::string text_;
};

TEST(StreamEval, AnswersWithinTheHorizonAreAllRightAndOutsideAllWrong) {
  Scripted answerer(900);  // about twenty lines
  // No line is asked for twice: an earlier answer would give a forgotten one away.
  const StreamEvalOptions options = {
      .lines = 400, .every = 10, .distances = {1, 5, 12, 23, 64}, .seed = 3};
  int n_visible = 0;
  int n_hidden = 0;
  for (const StreamEvalQuery& query : run_streameval(answerer, options, {})) {
    EXPECT_EQ(query.is_right, query.is_visible)
        << "line " << query.line << " asked for " << query.asked << ", said " << query.said;
    (query.is_visible ? n_visible : n_hidden)++;
    EXPECT_EQ(query.is_visible, query.line - query.asked <= 12) << query.line - query.asked;
  }
  EXPECT_GT(n_visible, 15);
  EXPECT_GT(n_hidden, 10);
}

TEST(StreamEval, AsksEveryTenLinesForTheLineTwentyBack) {
  Scripted answerer(100000);
  const auto queries = run_streameval(answerer, {.lines = 100}, {});
  ASSERT_EQ(queries.size(), 8u);  // after lines 29, 39, ... 99
  for (std::size_t i = 0; i < queries.size(); ++i) {
    EXPECT_EQ(queries[i].line, static_cast<int>(29 + 10 * i));
    EXPECT_EQ(queries[i].asked, queries[i].line - 20);
    EXPECT_TRUE(queries[i].is_right);
  }
}

TEST(StreamEval, ADistanceBeyondTheLastQuestionIsAnError) {
  EXPECT_EQ(test::error_of([] {
              check_streameval({.lines = 35, .distances = {2, 29}});
            }),
            "no error");
  EXPECT_NE(test::error_of([] {
              check_streameval({.lines = 35, .distances = {2, 30}});
            }).find("at most 29"),
            std::string::npos);
}

TEST(StreamEval, GivesTheSameLinesForTheSameSeed) {
  EXPECT_EQ(register_values({.seed = 5}), register_values({.seed = 5}));
  EXPECT_NE(register_values({.seed = 5}), register_values({.seed = 6}));
  EXPECT_EQ(register_line(7, 41235), "The REGISTER_CONTENT in line 7 is <41235>\n");
}

TEST(StreamEval, StopsWithTheQueriesSoFar) {
  Scripted answerer(100000);
  const auto queries =
      run_streameval(answerer, {.lines = 100}, [](double share) { return share < 0.5; });
  EXPECT_EQ(queries.size(), 3u);
}

TEST(StreamEval, CountsByDistanceInItsTable) {
  const Model model = Model::load(test::bundled_model(), {.threads = 1});
  Scripted answerer(900);
  const StreamEvalOptions options = {.lines = 200, .distances = {5, 60}};
  const auto queries = run_streameval(answerer, options, {});
  const Section section = streameval_section(model, options, {}, queries, {});
  ASSERT_EQ(section.table.rows.size(), 2u);
  EXPECT_EQ(std::get<double>(section.table.rows[0][3]), 100);
  EXPECT_EQ(std::get<double>(section.table.rows[1][3]), 0);
}

TEST(StreamEval, RunsAModelToo) {
  const Model model = Model::load(test::bundled_model(), {.threads = 2});
  const auto answerer = make_answerer(model, {}, 8);
  const auto queries = run_streameval(*answerer, {.lines = 30, .distances = {2}}, {});
  ASSERT_EQ(queries.size(), 3u);
  EXPECT_TRUE(queries[0].is_visible);
  EXPECT_GT(queries[2].position, queries[1].position);
  EXPECT_GT(queries[0].distance_tokens, 10);
}

std::filesystem::path written(const test::TempDir& folder, const std::string& text) {
  const std::filesystem::path path = folder / "questions.jsonl";
  std::ofstream(path) << text;
  return path;
}

TEST(Questions, AreReadWithAnswersInEveryForm) {
  const test::TempDir folder;
  const auto questions =
      read_questions(written(folder, R"({"question": "Two and two?", "answer": "Four."}

{"question": "Which?", "choices": ["wrong", "right"], "answer": 1}
{"question": "Which?", "choices": ["wrong", "right"], "answer": "B"}
{"question": "Which?", "choices": ["wrong", "right"], "answer": "right"}
)"));
  ASSERT_EQ(questions.size(), 4u);
  EXPECT_TRUE(questions[0].choices.empty());
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(questions[i].answer, "B");
  Scripted answerer(60);  // the last question only
  const auto answers = run_questions(answerer, {questions.begin() + 1, questions.end()}, {});
  for (const Answered& answer : answers) EXPECT_TRUE(answer.is_right);
}

TEST(Questions, ThatAreWrongAreNamedByTheirLine) {
  const test::TempDir folder;
  const auto message = [&](const std::string& text) {
    return test::error_of([&] { read_questions(written(folder, text)); });
  };
  EXPECT_NE(message("\nno json\n").find(":2"), std::string::npos);
  EXPECT_NE(message(R"({"question": "a", "choices": ["b"], "answer": 3})").find("1 choices"),
            std::string::npos);
  EXPECT_NE(message(R"({"question": "a"})").find("answer"), std::string::npos);
  EXPECT_NE(message(R"({"question": "a", "answer": "..."})").find(":1: want an answer"),
            std::string::npos);
}

TEST(Answers, AreTheSameButForCaseAndPunctuation) {
  EXPECT_TRUE(is_same_answer(" Four.", "four"));
  EXPECT_TRUE(is_same_answer("the  old man", "The old man!"));
  EXPECT_FALSE(is_same_answer("four", "five"));
}

}  // namespace
}  // namespace runnel::eval
