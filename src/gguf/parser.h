// Fills a File from bytes that nobody has checked yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "gguf/file.h"
#include "gguf/reader.h"
#include "gguf/value_type.h"

namespace runnel::gguf {

class Parser {
 public:
  // Fills everything in `file` but its name and mapping from `bytes`, or throws the first fault.
  Parser(std::span<const std::byte> bytes, const std::string& name, File& file)
      : reader_(bytes, name), bytes_(bytes), file_(file) {}
  void parse();

 private:
  void read_magic();
  void read_version();
  void read_metadata(std::uint64_t count);
  Value read_value(ValueType type);
  ValueType read_value_type(std::string_view field);
  bool read_bool();
  Array read_array();
  void skip_elements(ValueType type, std::uint64_t count, int depth);
  void skip_array(int depth);

  std::size_t read_alignment();
  void read_tensors(std::uint64_t count);
  void read_tensor(std::string_view name);
  void read_shape(Tensor& tensor);
  void place_tensors(std::size_t alignment);

  Reader reader_;
  std::span<const std::byte> bytes_;
  File& file_;
  std::vector<std::uint64_t> offsets_;  // of each tensor, from the start of the tensor data
};

}  // namespace runnel::gguf
