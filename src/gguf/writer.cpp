#include "gguf/writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>
#include <type_traits>
#include <utility>

#include "gguf/file.h"
#include "gguf/value_type.h"

namespace runnel::gguf {
namespace {

template <typename T>
constexpr ValueType kValueType = ValueType::kArray;
template <>
constexpr ValueType kValueType<std::uint8_t> = ValueType::kUint8;
template <>
constexpr ValueType kValueType<std::int8_t> = ValueType::kInt8;
template <>
constexpr ValueType kValueType<std::uint16_t> = ValueType::kUint16;
template <>
constexpr ValueType kValueType<std::int16_t> = ValueType::kInt16;
template <>
constexpr ValueType kValueType<std::uint32_t> = ValueType::kUint32;
template <>
constexpr ValueType kValueType<std::int32_t> = ValueType::kInt32;
template <>
constexpr ValueType kValueType<float> = ValueType::kFloat32;
template <>
constexpr ValueType kValueType<bool> = ValueType::kBool;
template <>
constexpr ValueType kValueType<std::string> = ValueType::kString;
template <>
constexpr ValueType kValueType<std::uint64_t> = ValueType::kUint64;
template <>
constexpr ValueType kValueType<std::int64_t> = ValueType::kInt64;
template <>
constexpr ValueType kValueType<double> = ValueType::kFloat64;

template <typename T>
void put(std::string& out, const T& value) {
  static_assert(std::is_arithmetic_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  out.append(text);
}

void put(std::string& out, const std::string& text) { put(out, std::string_view(text)); }

template <typename T>
void put(std::string& out, const std::vector<T>& values) {
  put(out, static_cast<std::uint32_t>(kValueType<T>));
  put(out, static_cast<std::uint64_t>(values.size()));
  for (const T& value : values) put(out, value);
}

std::uint64_t round_up(std::uint64_t n, std::uint64_t alignment) {
  return (n + alignment - 1) / alignment * alignment;
}

void check_shape(const std::string& name, const TensorTypeTraits& type,
                 std::span<const std::int64_t> shape) {
  const auto fail = [&](std::string_view wanted) {
    throw Error(fmt::format("tensor {}: want {}, found shape {}", name, wanted, shape_text(shape)));
  };
  if (shape.empty() || shape.size() > 4) fail("1 to 4 dimensions");
  std::int64_t room =
      std::numeric_limits<std::int64_t>::max() / 8;  // bytes of an element are fewer
  for (const std::int64_t dim : shape) {
    if (dim < 1) fail("dimensions of 1 or more");
    if (dim > room) fail("a number of bytes that 64 bits count");
    room /= dim;
  }
  if (shape[0] % type.block_elements != 0) {
    fail(fmt::format("rows of a multiple of {} for type {}", type.block_elements, type.name));
  }
}

}  // namespace

Header::Header(std::uint32_t alignment) : alignment_(alignment) {
  if (alignment < 8 || !std::has_single_bit(alignment)) {
    throw Error(fmt::format("alignment: want a power of two from 8 up, found {}", alignment));
  }
  if (alignment != kDefaultAlignment) add("general.alignment", alignment);
}

void Header::add(std::string_view key, const WritableValue& value) {
  if (key.empty()) throw Error("metadata key: want a name, found an empty string");
  if (!keys_.emplace(key).second) {
    throw Error(fmt::format("metadata {}: want each key once, found a second one", key));
  }
  put(metadata_, key);
  std::visit(
      [this](const auto& v) {
        put(metadata_, static_cast<std::uint32_t>(kValueType<std::decay_t<decltype(v)>>));
        put(metadata_, v);
      },
      value);
  ++n_metadata_;
}

void Header::add_tensor(std::string_view name, TensorType type,
                        std::span<const std::int64_t> shape) {
  TensorPlace place{.name = std::string(name), .offset = data_bytes_, .n_bytes = 0};
  if (name.empty()) throw Error("tensor name: want a name, found an empty string");
  check_shape(place.name, traits(type), shape);
  if (!names_.insert(place.name).second) {
    throw Error(fmt::format("tensor {}: want each name once, found a second one", name));
  }
  std::int64_t n_elements = 1;
  put(tensor_table_, name);
  put(tensor_table_, static_cast<std::uint32_t>(shape.size()));
  for (const std::int64_t dim : shape) {
    put(tensor_table_, dim);
    n_elements *= dim;
  }
  put(tensor_table_, static_cast<std::uint32_t>(type));
  put(tensor_table_, place.offset);
  place.n_bytes = bytes_of(type, n_elements);
  data_bytes_ = round_up(place.offset + place.n_bytes, alignment_);
  tensors_.push_back(std::move(place));
}

std::string Header::encode() const {
  std::string out = "GGUF";
  put(out, std::uint32_t{3});
  put(out, static_cast<std::uint64_t>(tensors_.size()));
  put(out, n_metadata_);
  out += metadata_;
  out += tensor_table_;
  if (!tensors_.empty()) out.resize(round_up(out.size(), alignment_), '\0');
  return out;
}

void Writer::Discard::operator()(std::FILE* file) const {
  std::fclose(file);
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

Writer::Writer(std::filesystem::path path, const Header& header)
    : path_(std::move(path)), tensors_(header.tensors()) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path_, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw Error(fmt::format("{}: want a regular file or a new one to write, found another thing",
                            path_.string()));  // which the file would replace
  }
  std::filesystem::path partial_path = path_;
  partial_path += ".partial";
  file_ = {std::fopen(partial_path.c_str(), "wb"), Discard{partial_path}};
  if (file_ == nullptr) fail_with_errno("create");
  const std::string encoded = header.encode();
  write(encoded.data(), encoded.size());
}

void Writer::append(std::string_view tensor, std::span<const std::byte> data) {
  if (current_ == tensors_.size() || tensors_[current_].name != tensor) {
    throw Error(fmt::format("{}: tensor {}: want {} next", path_.string(), tensor,
                            current_ == tensors_.size() ? "no tensor" : tensors_[current_].name));
  }
  const Header::TensorPlace& place = tensors_[current_];
  pad_to(place.offset);
  const std::uint64_t wanted = place.offset + place.n_bytes - data_bytes_;
  if (data.size() > wanted) {
    throw Error(fmt::format("{}: tensor {}: want {} more bytes, found {}", path_.string(), tensor,
                            wanted, data.size()));
  }
  write(data.data(), data.size());
  data_bytes_ += data.size();
  if (data.size() == wanted) ++current_;
}

void Writer::finish() {
  if (current_ != tensors_.size()) {
    throw Error(fmt::format("{}: tensor {}: its data is not complete", path_.string(),
                            tensors_[current_].name));
  }
  if (std::fflush(file_.get()) != 0) fail_with_errno("write");
  if (std::rename(file_.get_deleter().path.c_str(), path_.c_str()) != 0) {
    fail_with_errno("give its name to");
  }
  if (std::fclose(file_.release()) != 0) fail_with_errno("close");
}

void Writer::write(const void* data, std::size_t n_bytes) {
  if (n_bytes != 0 && std::fwrite(data, 1, n_bytes, file_.get()) != n_bytes) {
    fail_with_errno("write");
  }
}

// Tensors begin at multiples of the alignment; the gap is less than one alignment.
void Writer::pad_to(std::uint64_t offset) {
  constexpr std::array<char, 64> kZeros{};
  while (data_bytes_ < offset) {
    const std::uint64_t n_bytes = std::min<std::uint64_t>(kZeros.size(), offset - data_bytes_);
    write(kZeros.data(), n_bytes);
    data_bytes_ += n_bytes;
  }
}

void Writer::fail_with_errno(std::string_view action) const {
  throw Error(fmt::format("{}: cannot {}: {}", file_.get_deleter().path.string(), action,
                          std::strerror(errno)));
}

}  // namespace runnel::gguf
