#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "kernels/pack/dequantize.h"
#include "support/error_text.h"
#include "support/paths.h"
#include "support/sample_gguf.h"

namespace runnel::gguf {
namespace {

using test::error_of;

using Ints = std::vector<std::int64_t>;
using Floats = std::vector<float>;
using Texts = std::vector<std::string_view>;

std::string text_of_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(GgufFile, OpensTheBundledModelAndReadsItsWeights) {
  const File file = File::open(test::bundled_model());
  EXPECT_EQ(file.version(), 3);
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_array("tokenizer.ggml.tokens").strings()->size(), 4096u);
  EXPECT_EQ(file.get_array("tokenizer.ggml.scores").floats()->size(), 4096u);
  const Tensor* embedding = file.find_tensor("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(shape_text({embedding->shape.data(), 2}), "[256, 4096]");
  std::vector<float> row(256);
  kernels::dequantize_row(embedding->type, embedding->data.data() + 100 * 8 * 34, row.data(), 256);
  double sum_of_squares = 0.0;
  for (const float w : row) sum_of_squares += w * w;
  EXPECT_GT(sum_of_squares, 1e-3);
  EXPECT_LT(sum_of_squares, 256.0);
}

TEST(GgufFile, TheQuantisedModelIsNearTheFullOne) {
  RUNNEL_NEED_SHARED("models/novella-7m-f32.gguf");
  const File full = File::open(test::shared("models/novella-7m-f32.gguf"));
  const File quantised = File::open(test::bundled_model());
  for (const Tensor& tensor : quantised.tensors()) {
    const Tensor* wanted = full.find_tensor(tensor.name);
    ASSERT_NE(wanted, nullptr) << tensor.name;
    ASSERT_EQ(wanted->shape, tensor.shape) << tensor.name;
    const auto n = static_cast<std::size_t>(tensor.n_elements());
    Floats expected(n);
    Floats found(n);
    kernels::dequantize_row(wanted->type, wanted->data.data(), expected.data(),
                            tensor.n_elements());
    kernels::dequantize_row(tensor.type, tensor.data.data(), found.data(), tensor.n_elements());
    double error = 0.0;
    double norm = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      error += std::pow(expected[i] - found[i], 2.0);
      norm += std::pow(expected[i], 2.0);
    }
    EXPECT_LT(std::sqrt(error / norm), 0.01) << tensor.name;
  }
}

TEST(GgufFile, OpensEveryReferenceModelAndVocabulary) {
  RUNNEL_NEED_SHARED("golden/models");
  int n_files = 0;
  for (const char* folder : {"golden/models", "golden/tokenizers", "models"}) {
    for (const auto& entry : std::filesystem::directory_iterator(test::shared(folder))) {
      if (entry.path().extension() != ".gguf") continue;
      const File file = File::open(entry.path());
      EXPECT_FALSE(file.metadata().empty()) << entry.path();
      EXPECT_EQ(file.tensors().empty(), std::string_view(folder) == "golden/tokenizers");
      ++n_files;
    }
  }
  EXPECT_GE(n_files, 20);
}

TEST(GgufFile, ReadsBackEveryKindOfMetadata) {
  const std::string bytes = test::every_metadata_kind().encode();
  const File file = File::parse(test::bytes_of_text(bytes), "memory");
  EXPECT_EQ(file.get_int("u8"), 200);
  EXPECT_EQ(file.get_int("i8"), -100);
  EXPECT_EQ(file.get_int("u16"), 60000);
  EXPECT_EQ(file.get_int("i16"), -30000);
  EXPECT_EQ(file.get_int("u32"), 4000000000);
  EXPECT_EQ(file.get_int("i32"), -2000000000);
  EXPECT_EQ(file.get_int("i64"), -9000000000000000000);
  EXPECT_EQ(file.get_float("f32"), 0.25);
  EXPECT_EQ(file.get_float("f64"), 0.1);
  EXPECT_EQ(file.get_float("i8"), -100.0);
  EXPECT_TRUE(file.get_bool("yes"));
  EXPECT_FALSE(file.get_bool("no"));
  EXPECT_EQ(file.get_string("text"), "na\xc3\xafve");
  EXPECT_EQ(file.get_string("empty text"), "");
  EXPECT_EQ(file.metadata().front().first, "u8");
  EXPECT_EQ(file.metadata().back().first, "nothing");
}

TEST(GgufFile, ReadsBackEveryKindOfArray) {
  const std::string bytes = test::every_metadata_kind().encode();
  const File file = File::parse(test::bytes_of_text(bytes), "memory");
  EXPECT_EQ(file.get_array("u8s").ints(), (Ints{0, 255}));
  EXPECT_EQ(file.get_array("i8s").ints(), (Ints{-128, 127}));
  EXPECT_EQ(file.get_array("u16s").ints(), (Ints{0, 65535}));
  EXPECT_EQ(file.get_array("i16s").ints(), (Ints{-32768, 32767}));
  EXPECT_EQ(file.get_array("u32s").ints(), (Ints{0, 4294967295}));
  EXPECT_EQ(file.get_array("i32s").ints(), (Ints{-1, 1}));
  EXPECT_EQ(file.get_array("u64s").ints(), (Ints{0, 1}));
  EXPECT_EQ(file.get_array("i64s").ints(), (Ints{-1, 1}));
  EXPECT_EQ(file.get_array("f32s").floats(), (Floats{0.5f, -0.5f}));
  EXPECT_EQ(file.get_array("f64s").floats(), (Floats{0.5f, -0.5f}));
  EXPECT_EQ(file.get_array("bools").ints(), (Ints{1, 0, 1}));
  EXPECT_EQ(file.get_array("texts").strings(), (Texts{"a", "", "bc"}));
  EXPECT_EQ(file.get_array("nothing").strings(), Texts{});
  EXPECT_EQ(file.get_array("texts").size(), 3u);
}

TEST(GgufFile, AValueOfAnotherKindIsNotConverted) {
  const std::string bytes = test::every_metadata_kind().encode();
  const File file = File::parse(test::bytes_of_text(bytes), "memory");
  EXPECT_EQ(file.find("u64")->as_int(), std::nullopt);  // does not fit
  EXPECT_EQ(file.find("f32")->as_int(), std::nullopt);
  EXPECT_EQ(file.find("yes")->as_int(), std::nullopt);
  EXPECT_EQ(file.find("u8")->as_bool(), std::nullopt);
  EXPECT_EQ(file.find("text")->as_float(), std::nullopt);
  EXPECT_EQ(file.find("u8")->as_string(), std::nullopt);
  EXPECT_EQ(file.find("u8")->as_array(), nullptr);
  EXPECT_EQ(file.get_array("texts").ints(), std::nullopt);
  EXPECT_EQ(file.get_array("f32s").ints(), std::nullopt);
  EXPECT_EQ(file.get_array("i32s").floats(), std::nullopt);
  EXPECT_EQ(file.get_array("i32s").strings(), std::nullopt);
}

TEST(GgufFile, AMissingKeyOrAnotherKindIsAnErrorThatNamesIt) {
  const std::string bytes = test::every_metadata_kind().encode();
  const File file = File::parse(test::bytes_of_text(bytes), "tiny.gguf");
  EXPECT_EQ(error_of([&] { file.get_int("dim"); }),
            "tiny.gguf: metadata dim: want an integer, the file has no such key");
  EXPECT_EQ(error_of([&] { file.get_int("text"); }),
            "tiny.gguf: metadata text: want an integer, found string");
  EXPECT_EQ(error_of([&] { file.get_int("text", 3); }),
            "tiny.gguf: metadata text: want an integer, found string");
  EXPECT_EQ(error_of([&] { file.get_int("u64"); }),
            "tiny.gguf: metadata u64: want an integer below 2^63, found 18000000000000000000");
  EXPECT_EQ(error_of([&] { file.get_string("u8"); }),
            "tiny.gguf: metadata u8: want a string, found integer");
  EXPECT_EQ(error_of([&] { file.get_array("u8"); }),
            "tiny.gguf: metadata u8: want an array, found integer");
  EXPECT_EQ(file.get_int("dim", 7), 7);
  EXPECT_EQ(file.get_string("name", "none"), "none");
  EXPECT_TRUE(file.get_bool("flag", true));
  EXPECT_EQ(file.get_float("theta", 0.5), 0.5);
}

TEST(GgufFile, FindsATensorOfEveryTypeAtItsAlignedPlace) {
  for (const std::uint32_t alignment : {8u, 32u, 4096u}) {
    const std::string bytes = test::encode_with_data(test::every_tensor_type(alignment));
    const File file = File::parse(test::bytes_of_text(bytes), "memory");
    ASSERT_EQ(file.tensors().size(), test::all_tensor_types().size());
    for (const TensorType type : test::all_tensor_types()) {
      const Tensor* tensor = file.find_tensor(traits(type).name);
      ASSERT_NE(tensor, nullptr) << traits(type).name;
      EXPECT_EQ(tensor->type, type);
      EXPECT_EQ(tensor->n_dims, 2);
      EXPECT_EQ(tensor->n_elements(), 512);
      ASSERT_EQ(tensor->data.size(), bytes_of(type, 512));
      const auto* base = reinterpret_cast<const std::byte*>(bytes.data());
      EXPECT_EQ((tensor->data.data() - base) % alignment, 0u);
      for (std::size_t i = 0; i < tensor->data.size(); ++i) {
        ASSERT_EQ(tensor->data[i], static_cast<std::byte>(i % 256)) << traits(type).name << i;
      }
    }
  }
}

TEST(GgufFile, VersionTwoReadsAsVersionThree) {
  std::string bytes = test::every_metadata_kind().encode();
  bytes[4] = 2;
  const File file = File::parse(test::bytes_of_text(bytes), "memory");
  EXPECT_EQ(file.version(), 2);
  EXPECT_EQ(file.get_int("u8"), 200);
}

TEST(GgufFile, TheHeaderEndsWhereTheTensorTableEnds) {
  const std::string bytes = test::every_metadata_kind().encode();
  EXPECT_EQ(File::parse(test::bytes_of_text(bytes), "memory").header().size(), bytes.size());
}

TEST(GgufFile, SurvivesBeingMoved) {
  File first = File::open(test::bundled_model());
  const Tensor* tensor = first.find_tensor("token_embd.weight");
  const std::byte before = tensor->data.back();
  File second = std::move(first);
  EXPECT_EQ(second.find_tensor("token_embd.weight")->data.back(), before);
  EXPECT_EQ(second.get_string("general.architecture"), "llama");
}

TEST(GgufFixtures, HoldWhatTheWriterWrites) {
  EXPECT_EQ(text_of_file(test::fixture("gguf/every_metadata_kind.gguf")),
            test::every_metadata_kind().encode());
  EXPECT_EQ(text_of_file(test::fixture("gguf/every_tensor_type.gguf")),
            test::encode_with_data(test::every_tensor_type()));
}

}  // namespace
}  // namespace runnel::gguf
