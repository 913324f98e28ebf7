// The readers of metadata values. The bytes of an Array were checked when its file was parsed.
#include <cstring>
#include <limits>

#include "gguf/file.h"
#include "gguf/value_type.h"

namespace runnel::gguf {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename Stored, typename Wanted>
std::vector<Wanted> convert(std::span<const std::byte> bytes, std::size_t count) {
  std::vector<Wanted> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<Wanted>(load<Stored>(bytes.data() + i * sizeof(Stored)));
  }
  return values;
}

std::optional<std::int64_t> narrow(std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(value);
}

std::optional<std::vector<std::int64_t>> narrow_all(std::span<const std::byte> bytes,
                                                    std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!narrow(load<std::uint64_t>(bytes.data() + i * sizeof(std::uint64_t)))) return std::nullopt;
  }
  return convert<std::uint64_t, std::int64_t>(bytes, count);
}

}  // namespace

std::optional<std::vector<std::string_view>> Array::strings() const {
  if (static_cast<ValueType>(element_type_) != ValueType::kString) return std::nullopt;
  std::vector<std::string_view> values;
  values.reserve(count_);
  const std::byte* at = bytes_.data();
  for (std::size_t i = 0; i < count_; ++i) {
    const auto length = static_cast<std::size_t>(load<std::uint64_t>(at));
    at += sizeof(std::uint64_t);
    values.emplace_back(reinterpret_cast<const char*>(at), length);
    at += length;
  }
  return values;
}

std::optional<std::vector<std::int64_t>> Array::ints() const {
  switch (static_cast<ValueType>(element_type_)) {
    case ValueType::kUint8:
    case ValueType::kBool:
      return convert<std::uint8_t, std::int64_t>(bytes_, count_);
    case ValueType::kInt8:
      return convert<std::int8_t, std::int64_t>(bytes_, count_);
    case ValueType::kUint16:
      return convert<std::uint16_t, std::int64_t>(bytes_, count_);
    case ValueType::kInt16:
      return convert<std::int16_t, std::int64_t>(bytes_, count_);
    case ValueType::kUint32:
      return convert<std::uint32_t, std::int64_t>(bytes_, count_);
    case ValueType::kInt32:
      return convert<std::int32_t, std::int64_t>(bytes_, count_);
    case ValueType::kUint64:
      return narrow_all(bytes_, count_);
    case ValueType::kInt64:
      return convert<std::int64_t, std::int64_t>(bytes_, count_);
    default:
      return std::nullopt;
  }
}

std::optional<std::vector<float>> Array::floats() const {
  switch (static_cast<ValueType>(element_type_)) {
    case ValueType::kFloat32:
      return convert<float, float>(bytes_, count_);
    case ValueType::kFloat64:
      return convert<double, float>(bytes_, count_);
    default:
      return std::nullopt;
  }
}

std::string_view Value::kind() const {
  switch (variant_.index()) {
    case 0:
      return "bool";
    case 1:
    case 2:
      return "integer";
    case 3:
      return "float";
    case 4:
      return "string";
    default:
      return "array";
  }
}

std::optional<bool> Value::as_bool() const {
  if (const bool* value = std::get_if<bool>(&variant_)) return *value;
  return std::nullopt;
}

std::optional<std::int64_t> Value::as_int() const {
  if (const auto* value = std::get_if<std::int64_t>(&variant_)) return *value;
  if (const auto* value = std::get_if<std::uint64_t>(&variant_)) return narrow(*value);
  return std::nullopt;
}

std::optional<double> Value::as_float() const {
  if (const auto* value = std::get_if<double>(&variant_)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&variant_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<std::uint64_t>(&variant_)) return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<std::string_view> Value::as_string() const {
  if (const auto* value = std::get_if<std::string_view>(&variant_)) return *value;
  return std::nullopt;
}

const Array* Value::as_array() const { return std::get_if<Array>(&variant_); }

}  // namespace runnel::gguf
