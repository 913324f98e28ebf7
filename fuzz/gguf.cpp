// Whatever the bytes are, parsing ends in a File, all of which can be read, or in an Error.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/file.h"
#include "kernels/pack/dequantize.h"

namespace {

using runnel::gguf::Array;
using runnel::gguf::File;
using runnel::gguf::Tensor;
using runnel::gguf::Value;

volatile std::size_t sink;  // keeps the reads

void read_array(const Array& array) {
  if (const auto strings = array.strings()) {
    for (const auto text : *strings) {
      for (const char c : text) sink = sink + static_cast<unsigned char>(c);
    }
  }
  if (const auto ints = array.ints()) sink = sink + ints->size();
  if (const auto floats = array.floats()) sink = sink + floats->size();
}

void read_value(const Value& value) {
  sink = sink + value.kind().size();
  if (const auto boolean = value.as_bool()) sink = sink + *boolean;
  if (const auto integer = value.as_int()) sink = sink + static_cast<std::size_t>(*integer);
  if (const auto real = value.as_float()) sink = sink + (*real > 0.0);
  if (const auto text = value.as_string()) {
    for (const char c : *text) sink = sink + static_cast<unsigned char>(c);
  }
  if (const Array* array = value.as_array()) read_array(*array);
}

// The first and last block of the data, as far as they are in the file.
void read_tensor(const Tensor& tensor) {
  std::array<float, 256> weights{};
  const runnel::TensorTypeTraits& type = runnel::traits(tensor.type);
  for (const std::byte* block :
       {tensor.data.data(), tensor.data.data() + tensor.data.size() - type.block_bytes}) {
    runnel::kernels::dequantize_row(tensor.type, block, weights.data(), type.block_elements);
    sink = sink + (weights[0] > 0.0f);
  }
}

void read_all(const File& file) {
  for (const auto& [key, value] : file.metadata()) {
    sink = sink + (file.find(key) == &value);
    read_value(value);
  }
  for (const Tensor& tensor : file.tensors()) {
    sink = sink + (file.find_tensor(tensor.name) == &tensor);
    read_tensor(tensor);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    read_all(File::parse(std::as_bytes(std::span(data, size)), "input"));
  } catch (const runnel::Error& error) {
    sink = sink + std::char_traits<char>::length(error.what());
  }
  return 0;
}
