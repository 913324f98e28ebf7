// Small GGUF files in memory: one with a metadata value of every kind, one with a tensor of every
// type. tests/fixtures/gguf holds the same bytes; the fuzzer starts from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/tensor_type.h"
#include "gguf/writer.h"
#include "support/parameters.h"

namespace runnel::test {

inline const std::vector<TensorType>& all_tensor_types() {
  static const std::vector<TensorType> types = {
      TensorType::kF32,  TensorType::kF16,   TensorType::kBF16, TensorType::kQ4_0,
      TensorType::kQ4_1, TensorType::kQ5_0,  TensorType::kQ5_1, TensorType::kQ8_0,
      TensorType::kQ2_K, TensorType::kQ3_K,  TensorType::kQ4_K, TensorType::kQ5_K,
      TensorType::kQ6_K, TensorType::kMXFP4,
  };
  return types;
}

inline std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline gguf::Header every_metadata_kind(std::uint32_t alignment = 32) {
  gguf::Header header(alignment);
  header.add("u8", std::uint8_t{200});
  header.add("i8", std::int8_t{-100});
  header.add("u16", std::uint16_t{60000});
  header.add("i16", std::int16_t{-30000});
  header.add("u32", std::uint32_t{4000000000});
  header.add("i32", std::int32_t{-2000000000});
  header.add("u64", std::uint64_t{18000000000000000000u});
  header.add("i64", std::int64_t{-9000000000000000000});
  header.add("f32", 0.25f);
  header.add("f64", 0.1);
  header.add("yes", true);
  header.add("no", false);
  header.add("text", "na\xc3\xafve");
  header.add("empty text", "");
  header.add("u8s", std::vector<std::uint8_t>{0, 255});
  header.add("i8s", std::vector<std::int8_t>{-128, 127});
  header.add("u16s", std::vector<std::uint16_t>{0, 65535});
  header.add("i16s", std::vector<std::int16_t>{-32768, 32767});
  header.add("u32s", std::vector<std::uint32_t>{0, 4294967295});
  header.add("i32s", std::vector<std::int32_t>{-1, 1});
  header.add("u64s", std::vector<std::uint64_t>{0, 1});
  header.add("i64s", std::vector<std::int64_t>{-1, 1});
  header.add("f32s", std::vector<float>{0.5f, -0.5f});
  header.add("f64s", std::vector<double>{0.5, -0.5});
  header.add("bools", std::vector<bool>{true, false, true});
  header.add("texts", std::vector<std::string>{"a", "", "bc"});
  header.add("nothing", std::vector<std::string>{});
  return header;
}

// A file of `header` whose tensors all hold the bytes 0, 1, 2, ...
inline std::string encode_with_data(const gguf::Header& header) {
  std::string file = header.encode();
  const std::size_t data_begin = file.size();
  for (const auto& tensor : header.tensors()) {
    file.resize(data_begin + tensor.offset, '\0');
    for (std::uint64_t i = 0; i < tensor.n_bytes; ++i) file += static_cast<char>(i % 256);
  }
  return file;
}

// One tensor of each type, of shape [256, 2], named as its type.
inline gguf::Header every_tensor_type(std::uint32_t alignment = 32) {
  gguf::Header header(alignment);
  header.add("general.architecture", "llama");
  for (const TensorType type : all_tensor_types()) {
    header.add_tensor(traits(type).name, type, {256, 2});
  }
  return header;
}

}  // namespace runnel::test
