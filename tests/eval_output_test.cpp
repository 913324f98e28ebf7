// Tables, NumPy files, pictures and the page of the report; and ablations and latency in small.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "eval/ablation.h"
#include "eval/latency.h"
#include "eval/npy.h"
#include "eval/plot.h"
#include "eval/report.h"
#include "eval/section.h"
#include "support/error_text.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel::eval {
namespace {

const Model& tiny_for_output() {
  static const Model model = Model::load(test::fixture("models/llama-gqa.gguf"), {.threads = 2});
  return model;
}

std::vector<Token> report_tokens(std::size_t n) {
  std::vector<Token> tokens = {1};
  for (std::size_t i = 1; i < n; ++i) tokens.push_back(static_cast<Token>(i * i * 7 % 509));
  return tokens;
}

Section small_section() {
  return {.name = "small",
          .title = "A <small> section",
          .verdict = "2 < 3",
          .table = {.columns = {{"name", "name"}, {"value", "value", 1}, {"count", "count"}},
                    .rows = {{"a, \"b\"", 1234.56, std::int64_t{1234567}},
                             {"", 0.25, std::int64_t{-5}}}}};
}

TEST(Section, IsTextForPeopleAndNumbersForPrograms) {
  const Section section = small_section();
  EXPECT_EQ(table_text(section.table),
            "name      value      count\n"
            "a, \"b\"  1,234.6  1,234,567\n"
            "            0.2         -5\n");
  EXPECT_EQ(table_csv(section.table),
            "name,value,count\n\"a, \"\"b\"\"\",1234.56,1234567\n\"\",0.25,-5\n");
  const auto json = nlohmann::json::parse(section_json(section));
  EXPECT_EQ(json["rows"][0]["value"], 1234.56);
  EXPECT_EQ(json["rows"][1]["count"], -5);
  EXPECT_EQ(json["verdict"], "2 < 3");
}

TEST(Npy, HasAnAlignedHeaderAndTheBytes) {
  const test::TempDir folder;
  const std::vector<float> values = {1.5f, -2.0f, 3.25f};
  write_npy(folder / "a.npy", values, {3, 1});
  const std::string file = read_file(folder / "a.npy");
  ASSERT_EQ(file.size() % 64, 12u);
  EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\0", 8));
  EXPECT_NE(file.find("'shape': (3, 1, )"), std::string::npos);
  float last = 0;
  std::memcpy(&last, file.data() + file.size() - 4, 4);
  EXPECT_EQ(last, 3.25f);
}

bool has_gnuplot() { return std::system("gnuplot --version >/dev/null 2>&1") == 0; }

TEST(Plot, MakesBothPictures) {
  if (!has_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const test::TempDir folder;
  draw({.name = "line", .data = "1 2\n3 4\n", .script = "plot 'line.dat' with lines"},
       folder.path());
  EXPECT_NE(read_file(folder / "line.svg").find("<svg"), std::string::npos);
  EXPECT_EQ(read_file(folder / "line.png").substr(1, 3), "PNG");
  EXPECT_NE(test::error_of([&] {
              draw({.name = "bad", .data = "", .script = "plott 'bad.dat'"}, folder.path());
            }).find("invalid command"),
            std::string::npos);
}

TEST(Plot, WithoutGnuplotLeavesTheDataAndSaysSo) {
  const test::TempDir folder;
  const std::string path = getenv("PATH");
  setenv("PATH", folder.path().c_str(), 1);
  Section section;
  add_picture(section, {.name = "line", .data = "1 2\n", .script = "plot 'line.dat'"}, "",
              folder.path());
  setenv("PATH", path.c_str(), 1);
  ASSERT_EQ(section.notes.size(), 1u);
  EXPECT_NE(section.notes[0].find("install gnuplot"), std::string::npos) << section.notes[0];
  EXPECT_EQ(read_file(folder / "line.dat"), "1 2\n");
  EXPECT_TRUE(std::filesystem::exists(folder / "line.gp"));
  EXPECT_TRUE(section.pictures.empty());
}

TEST(Report, IsOnePageWithThePicturesInside) {
  const test::TempDir folder;
  write_file(folder / "small.svg", "<svg/>");
  Section section = small_section();
  section.pictures.push_back({"small", "the picture"});
  const std::string page =
      report_html({.title = "T", .summary = {"one"}, .sections = {section}}, folder.path());
  EXPECT_NE(page.find("A &lt;small&gt; section"), std::string::npos);
  EXPECT_NE(page.find("data:image/svg+xml;base64,PHN2Zy8+"), std::string::npos);
  EXPECT_EQ(page.find("src=\"http"), std::string::npos);
  EXPECT_EQ(base64("a"), "YQ==");
  EXPECT_EQ(base64("abcd"), "YWJjZA==");
}

TEST(Ablation, MeasuresTheSameTokensInEveryRow) {
  const std::vector<Token> tokens = report_tokens(400);
  const Ablation ablation = make_ablation(tiny_for_output(), "sinks", {}, 24);
  const auto results = run_ablation(tiny_for_output(), ablation, tokens, {});
  ASSERT_EQ(results.size(), 5u);
  for (const AblationResult& result : results) {
    EXPECT_EQ(result.nll.n, 400 - 25);
    EXPECT_EQ(result.row.options.sinks + *result.row.options.window, 24);
    EXPECT_GT(result.nll.error, 0);
  }
  EXPECT_EQ(results[0].row.options.policy, Policy::kWindow);
  EXPECT_EQ(results[0].difference.mean, 0);
  EXPECT_NEAR(results[3].difference.mean, results[3].nll.mean - results[0].nll.mean, 1e-6);
}

TEST(Ablation, StoppedKeepsTheRowsThatAreDone) {
  const std::vector<Token> tokens = report_tokens(300);
  const Ablation ablation = make_ablation(tiny_for_output(), "sinks", {}, 24);
  const auto results =
      run_ablation(tiny_for_output(), ablation, tokens, [](double share) { return share < 0.5; });
  EXPECT_EQ(results.size(), 3u);
  EXPECT_EQ(ablation_section(tiny_for_output(), ablation, results, {}).notes.size(), 1u);
}

TEST(Ablation, ReplacesTheFirstTokensAndNothingElse) {
  const Model model = Model::load(test::bundled_model(), {.threads = 2});
  const Ablation ablation = make_ablation(model, "linebreak", {}, 64);
  ASSERT_EQ(ablation.rows.size(), 4u);
  EXPECT_EQ(model.detokenize(ablation.rows[2].first_tokens).find_first_not_of('\n'),
            std::string::npos);
  EXPECT_EQ(ablation.rows[1].first_tokens.size(), 4u);
  EXPECT_TRUE(ablation.rows[0].first_tokens.empty());
  EXPECT_NE(test::error_of([&] { make_ablation(model, "nothing", {}, 64); }).find("linebreak"),
            std::string::npos);
}

TEST(Latency, MeasuresEveryWindow) {
  const LatencyOptions options = {.windows = {16, 32}, .tokens = 3, .recomputed_tokens = 2};
  const auto rows = run_latency(tiny_for_output(), report_tokens(100), options, {});
  ASSERT_EQ(rows.size(), 2u);
  for (const LatencyRow& row : rows) {
    EXPECT_GT(row.recompute_seconds, 0);
    EXPECT_GT(row.sink_seconds, 0);
    EXPECT_EQ(row.dense_tokens, 8 * row.window);
    EXPECT_GT(row.dense_bytes, 0u);
  }
  EXPECT_EQ(latency_section(tiny_for_output(), options, rows, {}).table.rows.size(), 2u);
}

}  // namespace
}  // namespace runnel::eval
