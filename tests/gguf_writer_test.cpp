#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "support/error_text.h"
#include "support/sample_gguf.h"
#include "support/temp_dir.h"

namespace runnel::gguf {
namespace {

using test::error_of;

Header two_tensors() {
  Header header(64);
  header.add("general.name", "two");
  header.add_tensor("a", TensorType::kF32, {3});
  header.add_tensor("b", TensorType::kQ8_0, {32, 2, 1, 1});
  return header;
}

// No file may grow beyond `n_bytes` while this lives: the disk is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t n_bytes) : old_signal_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{n_bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, old_signal_);
  }

 private:
  rlimit old_{};
  void (*old_signal_)(int);
};

TEST(GgufWriter, StreamsTensorsInPieces) {
  const test::TempDir dir;
  const std::vector<std::byte> floats(12, std::byte{1});
  const std::vector<std::byte> row(34, std::byte{2});
  Writer writer(dir / "two.gguf", two_tensors());
  writer.append("a", std::span(floats).first(5));
  writer.append("a", std::span(floats).last(7));
  writer.append("b", row);
  writer.append("b", row);
  EXPECT_FALSE(std::filesystem::exists(dir / "two.gguf"));
  writer.finish();

  const File file = File::open(dir / "two.gguf");
  EXPECT_EQ(file.get_int("general.alignment"), 64);
  EXPECT_EQ(file.find_tensor("a")->data.size(), 12u);
  EXPECT_EQ(file.find_tensor("a")->data[11], std::byte{1});
  EXPECT_EQ(file.find_tensor("b")->data.size(), 68u);
  EXPECT_EQ(file.find_tensor("b")->data[0], std::byte{2});
  EXPECT_EQ(file.find_tensor("b")->n_dims, 4);
  EXPECT_FALSE(std::filesystem::exists(dir / "two.gguf.partial"));
}

TEST(GgufWriter, AnUnfinishedFileLeavesTheOldOne) {
  const test::TempDir dir;
  Writer(dir / "vocabulary.gguf", test::every_metadata_kind()).finish();
  { const Writer unfinished(dir / "vocabulary.gguf", two_tensors()); }
  EXPECT_EQ(File::open(dir / "vocabulary.gguf").get_int("u8"), 200);
  EXPECT_FALSE(std::filesystem::exists(dir / "vocabulary.gguf.partial"));
}

TEST(GgufWriter, RefusesTensorsOutOfOrderTooLongOrMissing) {
  const test::TempDir dir;
  const std::vector<std::byte> floats(13);
  Writer writer(dir / "two.gguf", two_tensors());
  EXPECT_NE(error_of([&] { writer.append("b", floats); }).find("tensor b: want a next"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { writer.append("a", floats); }).find("tensor a: want 12 more bytes, found 13"),
      std::string::npos);
  EXPECT_NE(error_of([&] { writer.finish(); }).find("tensor a: its data is not complete"),
            std::string::npos);
}

TEST(GgufWriter, AFullDiskIsAnErrorAndLeavesNoFile) {
  const test::TempDir dir;
  Header header;
  header.add_tensor("big", TensorType::kF32, {1 << 16});
  const std::vector<std::byte> data(1 << 18);
  std::string error;
  {
    const FullDisk full(1 << 16);
    error = error_of([&] {
      Writer writer(dir / "big.gguf", header);
      writer.append("big", data);
      writer.finish();
    });
  }
  EXPECT_NE(error.find("big.gguf.partial: cannot write: File too large"), std::string::npos)
      << error;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(GgufWriter, AFolderThatIsNotThereIsAnError) {
  const test::TempDir dir;
  EXPECT_NE(error_of([&] { Writer(dir / "none/a.gguf", Header()); }).find("cannot create"),
            std::string::npos);
}

TEST(GgufHeader, RefusesWhatAReaderWouldRefuse) {
  Header header;
  header.add("key", 1);
  header.add_tensor("t", TensorType::kF32, {4});
  EXPECT_THROW(header.add("key", 2), Error);
  EXPECT_THROW(header.add("", 2), Error);
  EXPECT_THROW(header.add_tensor("t", TensorType::kF32, {4}), Error);
  EXPECT_THROW(header.add_tensor("", TensorType::kF32, {4}), Error);
  EXPECT_THROW(header.add_tensor("u", TensorType::kQ8_0, {33}), Error);
  EXPECT_THROW(header.add_tensor("u", TensorType::kF32, {0}), Error);
  EXPECT_THROW(header.add_tensor("u", TensorType::kF32, {1, 1, 1, 1, 1}), Error);
  EXPECT_THROW(header.add_tensor("u", TensorType::kF32, {1ll << 40, 1ll << 40}), Error);
  EXPECT_THROW(Header(12), Error);
  EXPECT_THROW(Header(4), Error);
  const std::string bytes = test::encode_with_data(header);  // nothing of the refused is in it
  EXPECT_EQ(File::parse(test::bytes_of_text(bytes), "memory").tensors().size(), 1u);
}

}  // namespace
}  // namespace runnel::gguf
