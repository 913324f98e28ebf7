// Writes GGUF files of version 3. The header (metadata and tensor table) is put together first; the
// tensor data then follows piece by piece, so that a model is never whole in memory.
//
//   Header header;
//   header.add("general.architecture", "llama");
//   header.add_tensor("token_embd.weight", TensorType::kQ8_0, {64, 512});
//   Writer writer(path, header);
//   for (...) writer.append("token_embd.weight", row);
//   writer.finish();
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <variant>
#include <vector>

#include "base/tensor_type.h"
#include "runnel/error.h"

namespace runnel::gguf {

// A metadata value to write; the C++ type chosen is the type in the file.
using WritableValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t,
                 std::int32_t, float, bool, std::string, std::uint64_t, std::int64_t, double,
                 std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                 std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                 std::vector<float>, std::vector<bool>, std::vector<std::string>,
                 std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>>;

class Header {
 public:
  struct TensorPlace {
    std::string name;
    std::uint64_t offset = 0;  // from the start of the tensor data
    std::uint64_t n_bytes = 0;
  };

  // `alignment` of the tensor data, a power of two from 8 up; written as general.alignment when it
  // is not the format's default of 32.
  explicit Header(std::uint32_t alignment = 32);

  // Error for an empty key or one that is already there.
  void add(std::string_view key, const WritableValue& value);
  // shape[0] is the length of a row. Error for a name that is already there, a shape that is not 1
  // to 4 positive dimensions, or a row that is not a whole number of blocks.
  void add_tensor(std::string_view name, TensorType type, std::span<const std::int64_t> shape);
  void add_tensor(std::string_view name, TensorType type,
                  std::initializer_list<std::int64_t> shape) {
    add_tensor(name, type, std::span(shape.begin(), shape.size()));
  }

  std::uint32_t alignment() const { return alignment_; }
  const std::vector<TensorPlace>& tensors() const { return tensors_; }
  // The file up to its tensor data, padded to the alignment when there are tensors.
  std::string encode() const;

 private:
  std::uint32_t alignment_;
  std::uint64_t n_metadata_ = 0;
  std::uint64_t data_bytes_ = 0;  // of the tensors so far, each padded
  std::string metadata_;          // encoded
  std::string tensor_table_;      // encoded
  std::unordered_set<std::string> keys_;
  std::unordered_set<std::string> names_;
  std::vector<TensorPlace> tensors_;
};

class Writer {
 public:
  // Creates PATH.partial, which becomes PATH when finished; until then a file at PATH stays as it
  // is. Throws Error when the file cannot be made or, here and below, the disk is full.
  Writer(std::filesystem::path path, const Header& header);

  // The next bytes of the tensor, in pieces of any size. Tensors come in the order of the header:
  // Error for another tensor, or for more bytes than it has.
  void append(std::string_view tensor, std::span<const std::byte> data);
  // Error unless every tensor is whole.
  void finish();

 private:
  // Removes a file that was not finished.
  struct Discard {
    std::filesystem::path path;
    void operator()(std::FILE* file) const;
  };

  void write(const void* data, std::size_t n_bytes);
  void pad_to(std::uint64_t offset);
  [[noreturn]] void fail_with_errno(std::string_view action) const;

  std::filesystem::path path_;
  std::vector<Header::TensorPlace> tensors_;
  std::unique_ptr<std::FILE, Discard> file_;
  std::size_t current_ = 0;       // index of the tensor being written
  std::uint64_t data_bytes_ = 0;  // written since the header
};

}  // namespace runnel::gguf
