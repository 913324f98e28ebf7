// A file may say with which softmax its model was trained; a stream obeys unless told otherwise.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/runnel.h"
#include "support/made_models.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_text(std::string& bytes, std::string_view key, std::string_view value) {
  constexpr std::uint32_t kString = 8;
  append(bytes, std::uint64_t{key.size()});
  bytes += key;
  append(bytes, kString);
  append(bytes, std::uint64_t{value.size()});
  bytes += value;
}

// The model's file with one more text in its metadata, and a second that fills up to the alignment.
std::vector<std::byte> with_text(std::span<const std::byte> file, std::string_view key,
                                 std::string_view value) {
  constexpr std::size_t kCountAt = 16;  // after magic, version and number of tensors
  constexpr std::size_t kFirstAt = 24;
  std::string added;
  append_text(added, key, value);
  const std::size_t n_filler = 64 - (added.size() + 26) % 32;
  append_text(added, "filler", std::string(n_filler, 'x'));
  EXPECT_EQ(added.size() % 32, 0u);
  std::vector<std::byte> bytes(file.begin(), file.end());
  std::uint64_t count = 0;
  std::memcpy(&count, bytes.data() + kCountAt, sizeof(count));
  count += 2;
  std::memcpy(bytes.data() + kCountAt, &count, sizeof(count));
  const auto* first = reinterpret_cast<const std::byte*>(added.data());
  bytes.insert(bytes.begin() + kFirstAt, first, first + added.size());
  return bytes;
}

constexpr std::string_view kKey = "runnel.attention.softmax";

class TrainedSoftmax : public testing::Test {
 protected:
  std::vector<float> nll(const Model& model, const StreamOptions& options) const {
    Stream stream = model.open(options);
    return stream.score(test::some_tokens(80, model.vocabulary_size()));
  }
  Model load(const std::vector<std::byte>& bytes) const { return Model::load(bytes, "marked"); }

  MadeModel made_ = test::make(find_shape("tiny", "llama"));
};

TEST_F(TrainedSoftmax, IsWhatAStreamUsesByDefault) {
  const auto bytes = with_text(made_.bytes(), kKey, "off-by-one");
  const Model marked = load(bytes);
  const Model plain = Model::load(made_.bytes(), "plain");
  EXPECT_EQ(marked.resolve({}).softmax, Softmax::kOffByOne);
  EXPECT_EQ(plain.resolve({}).softmax, Softmax::kStandard);
  const auto wanted = nll(plain, {.window = 20, .softmax = Softmax::kOffByOne});
  EXPECT_EQ(nll(marked, {.window = 20}), wanted);
  EXPECT_NE(nll(plain, {.window = 20}), wanted);
}

TEST_F(TrainedSoftmax, GivesWayToAnExplicitOne) {
  const auto bytes = with_text(made_.bytes(), kKey, "off-by-one");
  const Model marked = load(bytes);
  const Model plain = Model::load(made_.bytes(), "plain");
  EXPECT_EQ(nll(marked, {.window = 20, .softmax = Softmax::kStandard}), nll(plain, {.window = 20}));
}

TEST_F(TrainedSoftmax, IsKeptByASavedStream) {
  const auto bytes = with_text(made_.bytes(), kKey, "off-by-one");
  const Model marked = load(bytes);
  const test::TempDir folder;
  for (const Softmax softmax : {Softmax::kStandard, Softmax::kOffByOne}) {
    Stream stream = marked.open({.window = 20, .softmax = softmax});
    stream.feed(test::some_tokens(30, marked.vocabulary_size()));
    stream.save(folder / "state");
    Stream resumed = marked.resume(folder / "state");
    EXPECT_EQ(resumed.options().softmax, softmax);
    EXPECT_EQ(resumed.next().token, stream.next().token);
  }
}

TEST_F(TrainedSoftmax, MayBeNamedStandard) {
  const auto bytes = with_text(made_.bytes(), kKey, "standard");
  EXPECT_EQ(load(bytes).resolve({}).softmax, Softmax::kStandard);
}

TEST_F(TrainedSoftmax, IsRefusedWhenUnknown) {
  const auto bytes = with_text(made_.bytes(), kKey, "softmax2");
  try {
    load(bytes);
    FAIL() << "an unknown softmax was taken";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "marked: metadata runnel.attention.softmax: want standard or off-by-one, found "
                 "softmax2");
  }
}

}  // namespace
}  // namespace runnel
