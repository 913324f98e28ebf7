// Weights kept as they were packed: used when they can be trusted, and packed again when not.
#include "engine/packed_cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/internals.h"
#include "support/error_text.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

namespace fs = std::filesystem;

class PackedCacheTest : public testing::Test {
 protected:
  test::TempDir dir_;
  const fs::path model_ = dir_ / "model.gguf";
  const fs::path folder_ = dir_ / "cache";

  void SetUp() override { fs::copy_file(test::bundled_model(), model_); }

  Model load() const {
    return Model::load(model_, {.threads = 2, .packed_cache = folder_.string()});
  }
  static bool is_mapped(const Model& model) {
    return model.internals().weights.packed.bytes() == 0;
  }
  static std::vector<float> scores(const Model& model) {
    return model.open({.sinks = 2, .window = 20})
        .score(model.tokenize("It was a dark and stormy night"));
  }
  std::vector<float> plain() const { return scores(Model::load(model_)); }
  fs::path kept() const {
    const auto files = fs::directory_iterator(folder_);
    return begin(files) == end(files) ? fs::path() : begin(files)->path();
  }
  static std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void overwrite(const fs::path& path, std::streamoff at, char byte) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(at);
    file.put(byte);
  }
  // What is kept is not used after `damage`, but written anew.
  template <typename Damage>
  void expect_packed_again(Damage damage) const {
    load();
    const std::string good = bytes_of(kept());
    damage(kept());
    const Model model = load();
    EXPECT_FALSE(is_mapped(model));
    EXPECT_EQ(scores(model), plain());
    EXPECT_EQ(bytes_of(kept()), good);
    EXPECT_TRUE(is_mapped(load()));
  }
};

TEST_F(PackedCacheTest, IsMappedWhenTheModelIsLoadedAgain) {
  const Model first = load();
  EXPECT_FALSE(is_mapped(first));
  const Model second = load();
  EXPECT_TRUE(is_mapped(second));
  const Model beside = load();
  EXPECT_TRUE(is_mapped(beside));
  EXPECT_EQ(scores(first), plain());
  EXPECT_EQ(scores(second), plain());
  EXPECT_EQ(scores(beside), plain());
  EXPECT_NE(kept().filename().string().find(kernels::best_table().name), std::string::npos);
}

TEST_F(PackedCacheTest, IsNotUsedWhenItWasCutShort) {
  expect_packed_again([](const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); });
  expect_packed_again([](const fs::path& file) { fs::resize_file(file, 10); });
  expect_packed_again([](const fs::path& file) { fs::resize_file(file, 0); });
}

TEST_F(PackedCacheTest, IsNotUsedWhenAByteHasChanged) {
  const auto flip = [](std::streamoff at) {
    return [at](const fs::path& file) {
      overwrite(file, at, static_cast<char>(~bytes_of(file)[static_cast<std::size_t>(at)]));
    };
  };
  expect_packed_again(flip(3));
  expect_packed_again(flip(4096 + 100));
  expect_packed_again(flip(4'000'000));
}

TEST_F(PackedCacheTest, IsNotUsedForAFileThatWasChanged) {
  load();
  // In the middle of the weights, where no fingerprint looks.
  const auto middle = static_cast<std::streamoff>(fs::file_size(model_) / 2 + 5000);
  overwrite(model_, middle, static_cast<char>(~bytes_of(model_)[static_cast<std::size_t>(middle)]));
  fs::last_write_time(model_, fs::last_write_time(model_) + std::chrono::seconds(1));
  const Model changed = load();
  EXPECT_FALSE(is_mapped(changed));
  EXPECT_EQ(scores(changed), plain());
}

TEST_F(PackedCacheTest, NamesAFolderThatCannotBeMade) {
  std::ofstream(folder_) << "a file";
  const std::string error = test::error_of([&] { load(); });
  EXPECT_NE(error.find(folder_.string() + ": want a folder for packed weights"), std::string::npos)
      << error;
}

}  // namespace
}  // namespace runnel
