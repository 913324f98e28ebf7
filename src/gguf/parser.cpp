#include "gguf/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "gguf/guess_format.h"

namespace runnel::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF values are read as they lie");

constexpr std::uint64_t kLeastAlignment = 8;  // what the format asks for: no value is misaligned
constexpr int kDeepestArray = 4;
// Key length, one character, value type, one byte of value.
constexpr std::size_t kLeastMetadataBytes = 8 + 1 + 4 + 1;
// Name length, one character, n_dims, one dimension, type, offset.
constexpr std::size_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

}  // namespace

void Parser::parse() {
  read_magic();
  read_version();
  const auto n_tensors = reader_.read<std::uint64_t>("tensor count");
  const auto n_metadata = reader_.read<std::uint64_t>("metadata count");
  reader_.check_count(n_tensors, kLeastTensorBytes, "tensor count");
  reader_.check_count(n_metadata, kLeastMetadataBytes, "metadata count");
  read_metadata(n_metadata);
  const std::size_t alignment = read_alignment();
  read_tensors(n_tensors);
  file_.header_ = bytes_.first(reader_.offset());
  place_tensors(alignment);
}

void Parser::read_magic() {
  if (bytes_.empty()) reader_.fail("want a GGUF file, found an empty file");
  constexpr std::string_view kMagic = "GGUF";
  const std::size_t n_seen = std::min(bytes_.size(), kMagic.size());
  const std::string_view seen(reinterpret_cast<const char*>(bytes_.data()), n_seen);
  if (seen != kMagic.substr(0, n_seen)) {
    reader_.fail(fmt::format("magic: want \"GGUF\", found {}", guess_format(bytes_)));
  }
  reader_.take(kMagic.size(), "magic");
}

void Parser::read_version() {
  const auto version = reader_.read<std::uint32_t>("version");
  if (version != 0 && (version & 0xffffu) == 0) {
    reader_.fail(fmt::format("version: want 2 or 3, found {:#x}: a big-endian file", version));
  }
  if (version != 2 && version != 3) {
    reader_.fail(fmt::format("version: want 2 or 3, found {}", version));
  }
  file_.version_ = static_cast<int>(version);
}

void Parser::read_metadata(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    reader_.enter(fmt::format("metadata {} of {}", i + 1, count));
    const std::string_view key = reader_.read_string("key");
    if (key.empty()) reader_.fail("key: want a name, found an empty string");
    reader_.enter("metadata " + printable(key));
    if (!file_.metadata_index_.emplace(key, file_.metadata_.size()).second) {
      reader_.fail("key: want each key once, found a second one");
    }
    file_.metadata_.emplace_back(key, read_value(read_value_type("value type")));
  }
}

ValueType Parser::read_value_type(std::string_view field) {
  const auto number = reader_.read<std::uint32_t>(field);
  if (number > kLastValueType) {
    reader_.fail(fmt::format("{}: want 0 to {}, found {}", field, kLastValueType, number));
  }
  return static_cast<ValueType>(number);
}

Value Parser::read_value(ValueType type) {
  const auto integer = [](std::int64_t v) { return Value(Value::Variant(v)); };
  const auto natural = [](std::uint64_t v) { return Value(Value::Variant(v)); };
  const auto real = [](double v) { return Value(Value::Variant(v)); };
  switch (type) {
    case ValueType::kUint8:
      return natural(reader_.read<std::uint8_t>("value"));
    case ValueType::kInt8:
      return integer(reader_.read<std::int8_t>("value"));
    case ValueType::kUint16:
      return natural(reader_.read<std::uint16_t>("value"));
    case ValueType::kInt16:
      return integer(reader_.read<std::int16_t>("value"));
    case ValueType::kUint32:
      return natural(reader_.read<std::uint32_t>("value"));
    case ValueType::kInt32:
      return integer(reader_.read<std::int32_t>("value"));
    case ValueType::kUint64:
      return natural(reader_.read<std::uint64_t>("value"));
    case ValueType::kInt64:
      return integer(reader_.read<std::int64_t>("value"));
    case ValueType::kFloat32:
      return real(reader_.read<float>("value"));
    case ValueType::kFloat64:
      return real(reader_.read<double>("value"));
    case ValueType::kBool:
      return Value(Value::Variant(read_bool()));
    case ValueType::kString:
      return Value(Value::Variant(reader_.read_string("value")));
    case ValueType::kArray:
      return Value(Value::Variant(read_array()));
  }
  reader_.fail("value type: not one of the format's");  // unreachable: read_value_type checked it
}

bool Parser::read_bool() {
  const auto byte = reader_.read<std::uint8_t>("bool");
  if (byte > 1) reader_.fail(fmt::format("bool: want 0 or 1, found {}", byte));
  return byte == 1;
}

Array Parser::read_array() {
  const ValueType type = read_value_type("array element type");
  const auto count = reader_.read<std::uint64_t>("array count");
  reader_.check_count(count, least_bytes(type), "array count");
  const std::size_t begin = reader_.offset();
  skip_elements(type, count, 1);
  Array array;
  array.element_type_ = static_cast<std::uint32_t>(type);
  array.count_ = static_cast<std::size_t>(count);
  array.bytes_ = reader_.between(begin, reader_.offset());
  return array;
}

// `count` is known to fit.
void Parser::skip_elements(ValueType type, std::uint64_t count, int depth) {
  if (type == ValueType::kString) {
    for (std::uint64_t i = 0; i < count; ++i) reader_.read_string("array element");
  } else if (type == ValueType::kArray) {
    for (std::uint64_t i = 0; i < count; ++i) skip_array(depth + 1);
  } else if (type == ValueType::kBool) {
    for (std::uint64_t i = 0; i < count; ++i) read_bool();
  } else {
    reader_.take(count * fixed_bytes(type), "array elements");
  }
}

void Parser::skip_array(int depth) {
  if (depth > kDeepestArray) {
    reader_.fail(fmt::format("array: want at most {} levels, found more", kDeepestArray));
  }
  const ValueType type = read_value_type("array element type");
  const auto count = reader_.read<std::uint64_t>("array count");
  reader_.check_count(count, least_bytes(type), "array count");
  skip_elements(type, count, depth);
}

std::size_t Parser::read_alignment() {
  constexpr std::string_view kKey = "general.alignment";
  reader_.enter("metadata " + std::string(kKey));
  const Value* value = file_.find(kKey);
  if (value == nullptr) return kDefaultAlignment;
  const auto alignment = value->as_int();
  if (!alignment) reader_.fail(fmt::format("want an integer, found a {}", value->kind()));
  if (*alignment < static_cast<std::int64_t>(kLeastAlignment) ||
      *alignment > std::numeric_limits<std::uint32_t>::max() ||
      !std::has_single_bit(static_cast<std::uint64_t>(*alignment))) {
    reader_.fail(
        fmt::format("want a power of two from {} up, found {}", kLeastAlignment, *alignment));
  }
  return static_cast<std::size_t>(*alignment);
}

void Parser::read_tensors(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    reader_.enter(fmt::format("tensor {} of {}", i + 1, count));
    const std::string_view name = reader_.read_string("name");
    if (name.empty()) reader_.fail("name: want a name, found an empty string");
    reader_.enter("tensor " + printable(name));
    if (!file_.tensor_index_.emplace(name, file_.tensors_.size()).second) {
      reader_.fail("name: want each name once, found a second one");
    }
    read_tensor(name);
  }
}

void Parser::read_tensor(std::string_view name) {
  Tensor tensor;
  tensor.name = name;
  read_shape(tensor);
  const auto number = reader_.read<std::uint32_t>("type");
  const auto offset = reader_.read<std::uint64_t>("offset");
  const auto type = find_tensor_type(number);
  if (!type) {  // how many bytes it has is not known
    file_.tensor_index_[name] = File::kUnreadable;
    file_.unreadable_tensors_.push_back({name, number, tensor.n_dims, tensor.shape});
    return;
  }
  if (tensor.shape[0] % type->block_elements != 0) {
    reader_.fail(fmt::format("shape[0]: type {} wants rows of a multiple of {} elements, found {}",
                             type->name, type->block_elements, tensor.shape[0]));
  }
  tensor.type = type->type;
  file_.tensors_.push_back(tensor);
  offsets_.push_back(offset);
}

void Parser::read_shape(Tensor& tensor) {
  const auto n_dims = reader_.read<std::uint32_t>("n_dims");
  if (n_dims < 1 || n_dims > tensor.shape.size()) {
    reader_.fail(fmt::format("n_dims: want 1 to {}, found {}", tensor.shape.size(), n_dims));
  }
  tensor.n_dims = static_cast<int>(n_dims);
  std::int64_t room = std::numeric_limits<std::int64_t>::max();
  for (std::uint32_t i = 0; i < n_dims; ++i) {
    const auto dim = reader_.read<std::int64_t>("shape");
    if (dim < 1) reader_.fail(fmt::format("shape[{}]: want 1 or more, found {}", i, dim));
    if (dim > room) {
      reader_.fail(fmt::format("shape[{}]: {} makes more elements than 64 bits count", i, dim));
    }
    room /= dim;
    tensor.shape[i] = dim;
  }
}

// The tensor data begins at the first multiple of the alignment after the tensor table.
void Parser::place_tensors(std::size_t alignment) {
  const std::uint64_t table_end = reader_.offset();
  const std::uint64_t data_begin = (table_end + alignment - 1) / alignment * alignment;
  const std::uint64_t data_bytes =
      bytes_.size() - std::min<std::uint64_t>(data_begin, bytes_.size());
  for (std::size_t i = 0; i < file_.tensors_.size(); ++i) {
    Tensor& tensor = file_.tensors_[i];
    const std::uint64_t offset = offsets_[i];
    reader_.enter("tensor " + printable(tensor.name));
    if (offset % alignment != 0) {
      reader_.fail(fmt::format("offset: want a multiple of {}, found {}", alignment, offset));
    }
    const TensorTypeTraits& type = traits(tensor.type);
    const auto n_blocks = static_cast<std::uint64_t>(tensor.n_elements() / type.block_elements);
    if (offset > data_bytes || n_blocks > (data_bytes - offset) / type.block_bytes) {
      reader_.fail(
          fmt::format("data: want {} {} blocks of {} bytes at offset {} of the tensor data, the "
                      "file has {} bytes of it (size {})",
                      n_blocks, type.name, type.block_bytes, offset, data_bytes, bytes_.size()));
    }
    tensor.data = bytes_.subspan(data_begin + offset, n_blocks * type.block_bytes);
  }
}

}  // namespace runnel::gguf
