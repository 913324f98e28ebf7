// Files that lie about themselves: each fault is an Error that names it, whatever the bytes.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "gguf/file.h"
#include "gguf/value_type.h"
#include "support/error_text.h"
#include "support/paths.h"
#include "support/sample_gguf.h"
#include "support/temp_dir.h"

namespace runnel::gguf {
namespace {

using test::error_of;

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string parse_error(std::string_view bytes) {
  return error_of(
      [&] { File::parse(std::as_bytes(std::span(bytes)), "bad.gguf").check_readable(); });
}

// From memory of exactly this size, so that a read beyond the end is a fault a sanitizer sees.
std::string parse_error_of_copy(std::string_view bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  return parse_error({copy.data(), copy.size()});
}

// Bytes put together by hand, little-endian.
class Bytes {
 public:
  Bytes& raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  template <typename T>
  Bytes& number(T value) {
    return raw({reinterpret_cast<const char*>(&value), sizeof value});
  }
  Bytes& u32(std::uint32_t value) { return number(value); }
  Bytes& u64(std::uint64_t value) { return number(value); }
  Bytes& type(ValueType value) { return number(value); }
  Bytes& text(std::string_view value) { return u64(value.size()).raw(value); }
  Bytes& header(std::uint64_t n_tensors, std::uint64_t n_metadata) {
    return raw("GGUF").u32(3).u64(n_tensors).u64(n_metadata);
  }
  // Of type F32, at offset 0.
  Bytes& tensor(std::string_view name, const std::vector<std::int64_t>& shape) {
    text(name).u32(static_cast<std::uint32_t>(shape.size()));
    for (const std::int64_t dim : shape) number(dim);
    return u32(0).u64(0);
  }
  // The data of tensors, after its padding.
  Bytes& data(std::size_t n_bytes) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32 + n_bytes, '\0');
    return *this;
  }
  const std::string& str() const { return bytes_; }

 private:
  std::string bytes_;
};

constexpr std::uint64_t kHuge = std::uint64_t{1} << 62;

struct Fault {
  std::string bytes;
  std::string message;  // a part of the error's
};

void expect_faults(const std::vector<Fault>& faults) {
  for (const Fault& fault : faults) {
    const std::string error = parse_error_of_copy(fault.bytes);
    EXPECT_TRUE(error.starts_with("bad.gguf: ")) << error;
    EXPECT_NE(error.find(fault.message), std::string::npos)
        << "want: " << fault.message << "\nfound: " << error;
  }
}

TEST(GgufCorruption, AFileOfAnotherFormatIsNamed) {
  const std::string safetensors = Bytes().text("{\"x\":1}").raw("data").str();
  expect_faults({
      {"", "an empty file"},
      {"GG", "magic: want 4 bytes at offset 0, the file has 2 left (size 2)"},
      {"GGUF", "version: want 4 bytes at offset 4, the file has 0 left"},
      {"Once upon a time", "magic: want \"GGUF\", found text: \"Once upon a time\""},
      {std::string("\x01\x02\x00\xff", 4), "magic: want \"GGUF\", found the bytes 01 02 00 ff"},
      {safetensors, "a safetensors file"},
      {std::string("PK\x03\x04zip", 7), "a zip archive"},
      {"tjgg\x03", "a ggml file (GGJT) of the time before GGUF"},
      {"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"},
      {"<!DOCTYPE html>", "an HTML or XML page"},
      {"FUGG", "a big-endian GGUF file"},
  });
}

TEST(GgufCorruption, AnotherVersionIsNamed) {
  expect_faults({
      {Bytes().raw("GGUF").u32(0).str(), "version: want 2 or 3, found 0"},
      {Bytes().raw("GGUF").u32(1).str(), "version: want 2 or 3, found 1"},
      {Bytes().raw("GGUF").u32(4).str(), "version: want 2 or 3, found 4"},
      {Bytes().raw("GGUF").u32(0x03000000).str(), "found 0x3000000: a big-endian file"},
  });
}

TEST(GgufCorruption, HugeCountsAreRefusedBeforeTheyAreUsed) {
  const auto one_value = [](ValueType type) { return Bytes().header(0, 1).text("key").type(type); };
  expect_faults({
      {Bytes().header(kHuge, 0).str(), "header: tensor count: 4611686018427387904 items"},
      {Bytes().header(~0ull, ~0ull).str(), "header: tensor count"},
      {Bytes().header(0, kHuge).str(), "header: metadata count: 4611686018427387904 items"},
      {Bytes().header(0, 1).u64(kHuge).raw("key.......").str(), "metadata 1 of 1: key: want"},
      {one_value(ValueType::kString).u64(~0ull).str(),
       "metadata key: value: want 18446744073709551615 bytes"},
      {one_value(ValueType::kArray).type(ValueType::kUint64).u64(kHuge / 4).raw("........").str(),
       "metadata key: array count: 1152921504606846976 items of at least 8 bytes"},
      {one_value(ValueType::kArray).type(ValueType::kString).u64(2).u64(0).str(),
       "metadata key: array count: 2 items"},
      {one_value(ValueType::kArray).type(ValueType::kString).u64(1).u64(9).raw("12345678").str(),
       "metadata key: array element: want 9 bytes"},
      {Bytes().header(1, 0).u64(kHuge).raw(std::string(40, 'x')).str(), "tensor 1 of 1: name"},
  });
}

TEST(GgufCorruption, WrongMetadataIsNamed) {
  const auto key = [](std::string_view name) { return Bytes().header(0, 1).text(name); };
  const auto array = [&] { return key("key").type(ValueType::kArray); };
  Bytes deep = array();
  for (int i = 0; i < 5; ++i) deep.type(ValueType::kArray).u64(1);
  deep.type(ValueType::kUint8).u64(1).raw("x");
  expect_faults({
      {key("").u32(0).raw("xy").str(), "metadata 1 of 1: key: want a name, found an empty string"},
      {key("key").u32(13).raw("x").str(), "metadata key: value type: want 0 to 12, found 13"},
      {key("key").type(ValueType::kBool).raw("\x02").str(), "key: bool: want 0 or 1, found 2"},
      {array().type(ValueType::kBool).u64(2).raw("\x01\x07").str(), "bool: want 0 or 1, found 7"},
      {array().u32(77).u64(1).raw("x").str(), "array element type: want 0 to 12, found 77"},
      {deep.str(), "metadata key: array: want at most 4 levels, found more"},
      {key("\x1b[31mkey").u32(13).raw("x").str(), "metadata ?[31mkey: value type"},
      {key(std::string(100, 'k')).u32(13).raw("x").str(),
       "metadata " + std::string(80, 'k') + "...: value type"},
      {Bytes().header(0, 2).text("a").u32(0).raw("x").text("a").u32(0).raw("y").str(),
       "metadata a: key: want each key once, found a second one"},
  });
}

TEST(GgufCorruption, AnArrayOfArraysIsReadOverAndHasNoElementsToGive) {
  const std::string bytes = Bytes()
                                .header(0, 2)
                                .text("nested")
                                .type(ValueType::kArray)
                                .type(ValueType::kArray)
                                .u64(2)
                                .type(ValueType::kString)
                                .u64(1)
                                .text("inner")
                                .type(ValueType::kUint8)
                                .u64(0)
                                .text("after")
                                .type(ValueType::kUint32)
                                .u32(7)
                                .str();
  const File file = File::parse(test::bytes_of_text(bytes), "nested.gguf");
  EXPECT_EQ(file.get_array("nested").size(), 2u);
  EXPECT_EQ(file.get_array("nested").strings(), std::nullopt);
  EXPECT_EQ(file.get_array("nested").ints(), std::nullopt);
  EXPECT_EQ(file.get_int("after"), 7);
}

TEST(GgufCorruption, AnAlignmentThatIsNoPowerOfTwoFromEightUpIsRefused) {
  for (const std::uint32_t alignment : {0u, 1u, 4u, 12u, 33u, 0xffffffffu}) {
    const std::string bytes = Bytes()
                                  .header(0, 1)
                                  .text("general.alignment")
                                  .type(ValueType::kUint32)
                                  .u32(alignment)
                                  .str();
    EXPECT_EQ(parse_error(bytes),
              "bad.gguf: metadata general.alignment: want a power of two from 8 up, found " +
                  std::to_string(alignment));
  }
  const std::string text =
      Bytes().header(0, 1).text("general.alignment").type(ValueType::kString).text("32").str();
  EXPECT_EQ(parse_error(text),
            "bad.gguf: metadata general.alignment: want an integer, found a string");
}

TEST(GgufCorruption, AWrongTensorTableIsNamed) {
  const auto one = [] { return Bytes().header(1, 0); };
  const auto of_type = [&](std::uint32_t type, std::int64_t n) {
    return one().text("w").u32(1).number(n).u32(type).u64(0).data(4096).str();
  };
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const auto shaped = [&](const std::vector<std::int64_t>& shape) {
    return one().tensor("w", shape).data(64).str();
  };
  expect_faults({
      {one().tensor("", {1}).data(64).str(), "tensor 1 of 1: name: want a name"},
      {Bytes().header(2, 0).tensor("w", {1}).tensor("w", {1}).data(64).str(),
       "tensor w: name: want each name once, found a second one"},
      {shaped({}), "tensor w: n_dims: want 1 to 4, found 0"},
      {shaped({1, 1, 1, 1, 1}), "tensor w: n_dims: want 1 to 4, found 5"},
      {shaped({4, 0}), "tensor w: shape[1]: want 1 or more, found 0"},
      {shaped({-4}), "tensor w: shape[0]: want 1 or more, found -4"},
      {shaped({1ll << 32, 1ll << 31}), "tensor w: shape[1]: 2147483648 makes more elements"},
      {shaped({kMost, 2}), "tensor w: shape[1]: 2 makes more elements than 64 bits count"},
      {shaped({kMost}), "tensor w: data: want 9223372036854775807 F32 blocks of 4 bytes"},
      {of_type(15, 256), "tensor w: type Q8_K (15) is not supported; supported: F32, F16, "},
      {of_type(4, 32), "tensor w: type Q4_2 (removed) (4) is not supported"},
      {of_type(1000, 32), "tensor w: type unknown (1000) is not supported"},
      {of_type(8, 33), "tensor w: shape[0]: type Q8_0 wants rows of a multiple of 32 elements"},
      {of_type(12, 128), "tensor w: shape[0]: type Q4_K wants rows of a multiple of 256 elements"},
  });
}

TEST(GgufCorruption, TensorDataOutsideTheFileIsNamed) {
  const auto placed = [](std::uint64_t offset, std::size_t data_bytes) {
    return Bytes().header(1, 0).text("w").u32(1).u64(16).u32(0).u64(offset).data(data_bytes).str();
  };
  EXPECT_EQ(parse_error(placed(0, 64)), "no error");
  EXPECT_EQ(parse_error(placed(32, 96)), "no error");
  expect_faults({
      {placed(0, 63), "tensor w: data: want 16 F32 blocks of 4 bytes at offset 0"},
      {placed(64, 64), "at offset 64 of the tensor data, the file has 64 bytes of it"},
      {placed(96, 64), "at offset 96 of the tensor data, the file has 64 bytes of it"},
      {placed(0x7fffffffffffffe0, 64), "tensor w: data: want 16 F32 blocks"},
      {placed(0xffffffffffffffe0, 64), "tensor w: data: want 16 F32 blocks"},
      {placed(8, 128), "tensor w: offset: want a multiple of 32, found 8"},
      {placed(0, 0).substr(0, 65), "the file has 0 bytes of it"},
  });
}

TEST(GgufCorruption, TruncatedAnywhereTheBundledModelIsAnErrorThatNamesTheFault) {
  const std::string model = read_text(test::bundled_model());
  const std::size_t header_bytes = File::parse(test::bytes_of_text(model), "model").header().size();
  for (std::size_t size = 0; size < model.size(); size += 997) {
    const std::string_view cut = std::string_view(model).substr(0, size);
    const std::string error = size < header_bytes ? parse_error_of_copy(cut) : parse_error(cut);
    ASSERT_TRUE(error.starts_with("bad.gguf: ")) << size << ": " << error;
    const bool is_named =
        error.find("want ") != std::string::npos || error.find("do not fit") != std::string::npos;
    ASSERT_TRUE(is_named) << size << ": " << error;
  }
}

TEST(GgufCorruption, TruncatedAtEveryByteASmallFileIsAnError) {
  for (const std::string& whole :
       {test::every_metadata_kind().encode(), test::encode_with_data(test::every_tensor_type())}) {
    ASSERT_EQ(parse_error(whole), "no error");
    for (std::size_t size = 0; size < whole.size(); ++size) {
      ASSERT_TRUE(parse_error_of_copy(whole.substr(0, size)).starts_with("bad.gguf: ")) << size;
    }
  }
}

TEST(GgufCorruption, AnyByteOfASmallFileMayBeWrong) {
  for (std::string bytes :
       {test::every_metadata_kind().encode(), test::encode_with_data(test::every_tensor_type())}) {
    for (char& byte : bytes) {
      const char before = byte;
      for (const char wrong : {'\0', '\1', '\x7f', '\x80', '\xff'}) {
        byte = wrong;
        const std::string error = parse_error(bytes);
        ASSERT_TRUE(error == "no error" || error.starts_with("bad.gguf: ")) << error;
      }
      byte = before;
    }
  }
}

// The bundled model with one field overwritten at a time.
class CorruptedModel : public ::testing::Test {
 protected:
  CorruptedModel()
      : bytes_(read_text(test::bundled_model())),
        file_(File::parse(test::bytes_of_text(bytes_), "model")) {}

  // `at` points to the field inside bytes_.
  template <typename T>
  void expect_fault(const char* at, T wrong, const std::string& message) {
    char* field = bytes_.data() + (at - bytes_.data());
    T before;
    std::memcpy(&before, field, sizeof before);
    std::memcpy(field, &wrong, sizeof wrong);
    const std::string error = parse_error(bytes_);
    std::memcpy(field, &before, sizeof before);
    EXPECT_NE(error.find(message), std::string::npos)
        << "want: " << message << "\nfound: " << error;
  }

  std::string bytes_;
  File file_;
};

TEST_F(CorruptedModel, EveryMetadataFieldIsNamed) {
  ASSERT_GT(file_.metadata().size(), 10u);
  std::size_t index = 0;
  for (const auto& [key, value] : file_.metadata()) {
    const std::string where = "metadata " + std::string(key) + ": ";
    const char* type = key.data() + key.size();
    expect_fault(key.data() - 8, kHuge, "metadata " + std::to_string(++index) + " of ");
    expect_fault(type, std::uint32_t{99}, where + "value type: want 0 to 12, found 99");
    if (value.as_string()) expect_fault(type + 4, kHuge, where + "value: want");
    if (value.as_array() != nullptr) {
      expect_fault(type + 4, std::uint32_t{99}, where + "array element type: want 0 to 12");
      expect_fault(type + 8, kHuge, where + "array count: 4611686018427387904 items");
    }
  }
}

TEST_F(CorruptedModel, EveryTensorFieldIsNamed) {
  ASSERT_GT(file_.tensors().size(), 50u);
  std::size_t index = 0;
  for (const Tensor& tensor : file_.tensors()) {
    const std::string where = "tensor " + std::string(tensor.name) + ": ";
    const char* n_dims = tensor.name.data() + tensor.name.size();
    const char* shape = n_dims + 4;
    const char* type = shape + 8 * tensor.n_dims;
    expect_fault(tensor.name.data() - 8, kHuge, "tensor " + std::to_string(++index) + " of ");
    expect_fault(n_dims, std::uint32_t{0}, where + "n_dims: want 1 to 4, found 0");
    expect_fault(n_dims, std::uint32_t{9}, where + "n_dims: want 1 to 4, found 9");
    expect_fault(shape, std::int64_t{0}, where + "shape[0]: want 1 or more, found 0");
    expect_fault(shape, std::int64_t{1} << 40, where + "data: want");
    expect_fault(type, std::uint32_t{24}, where + "type I8 (24) is not supported");
    expect_fault(type + 4, std::uint64_t{1}, where + "offset: want a multiple of 32, found 1");
    expect_fault(type + 4, kHuge, where + "data: want");
  }
}

// The fixtures are where the fuzzer starts and where its findings go.
TEST(GgufOpen, EveryFixtureIsAFileOrAnErrorThatNamesIt) {
  int n_fixtures = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::fixture("gguf"))) {
    const std::string path = entry.path().string();
    const std::string error = error_of([&] { File::open(path); });
    EXPECT_TRUE(error == "no error" || error.starts_with(path + ": ")) << error;
    ++n_fixtures;
  }
  EXPECT_GE(n_fixtures, 2);
}

TEST(GgufOpen, WhatIsNoRegularFileIsNamed) {
  const test::TempDir dir;
  const std::string pipe = dir / "pipe.gguf";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const auto open_error = [](const std::string& path) {
    return error_of([&] { File::open(path).check_readable(); });
  };
  EXPECT_EQ(open_error(dir / "none.gguf"),
            (dir / "none.gguf").string() + ": cannot open: No such file or directory");
  EXPECT_EQ(open_error(dir.path()), dir.path().string() + ": want a GGUF file, found a directory");
  EXPECT_EQ(open_error(pipe), pipe + ": want a GGUF file, found a device or pipe");
  std::ofstream(dir / "empty.gguf").close();
  EXPECT_NE(open_error(dir / "empty.gguf").find("found an empty file"), std::string::npos);
}

}  // namespace
}  // namespace runnel::gguf
