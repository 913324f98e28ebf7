// A GGUF file, memory-mapped: metadata by key and tensors by name, as views into the mapping.
// Every count, offset, length, type and alignment is checked against the file's size before use,
// so that whatever the bytes are, opening ends in a File or in an Error that names the fault.
// Format: GGUF specification (ggml project), versions 2 and 3, little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/tensor_type.h"
#include "runnel/error.h"

namespace runnel::gguf {

// A metadata array as a view of the file's bytes, checked when the file was opened; nothing is
// copied until one of the readers is called. Readers throw nothing: nullopt when the elements are
// of another kind.
class Array {
 public:
  std::size_t size() const { return count_; }
  std::optional<std::vector<std::string_view>> strings() const;
  std::optional<std::vector<std::int64_t>> ints() const;  // any integer or bool element type
  std::optional<std::vector<float>> floats() const;       // float32 and float64 elements

 private:
  friend class Parser;
  std::uint32_t element_type_ = 0;  // number of the GGUF value type
  std::size_t count_ = 0;
  std::span<const std::byte> bytes_;
};

// One metadata value. Integers of any width are held as int64 or uint64, floats as double.
class Value {
 public:
  using Variant = std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view, Array>;
  explicit Value(Variant v) : variant_(v) {}
  const Variant& variant() const { return variant_; }
  std::string_view kind() const;  // "bool", "integer", "float", "string", "array": for errors

  // nullopt when the value is of another kind or does not fit.
  std::optional<bool> as_bool() const;
  std::optional<std::int64_t> as_int() const;
  std::optional<double> as_float() const;  // integers convert
  std::optional<std::string_view> as_string() const;
  const Array* as_array() const;

 private:
  Variant variant_;
};

// A tensor inside the mapping. shape[0] is the length of a row (the innermost dimension).
struct Tensor {
  std::string_view name;
  TensorType type = TensorType::kF32;
  int n_dims = 0;  // 1 to 4
  std::array<std::int64_t, 4> shape{1, 1, 1, 1};
  std::span<const std::byte> data;  // borrowed from the File

  std::int64_t n_elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

// A tensor of a type that this library does not read.
struct UnreadableTensor {
  std::string_view name;
  std::uint32_t type_number = 0;
  int n_dims = 0;
  std::array<std::int64_t, 4> shape{1, 1, 1, 1};
};

// "[64, 512]", for errors.
std::string shape_text(std::span<const std::int64_t> shape);

class File {
 public:
  // Throws Error: cannot open, not a GGUF file, unsupported version, or the first fault found.
  // While the File lives, nobody may make the file on disk shorter.
  //
  // A model that is split into several files (NAME-00001-of-00003.gguf) is opened by its first part
  // and has the tensors of all; the other parts lie beside it. Error: another part, one missing.
  static File open(const std::filesystem::path& path);
  // The same over bytes that the caller keeps alive; `name` stands for the path in errors.
  // They begin at an address that is a multiple of 8, as a mapping or an allocation does.
  static File parse(std::span<const std::byte> bytes, std::string name);

  File(File&&) noexcept;
  File& operator=(File&&) noexcept;
  ~File();

  const std::string& name() const { return name_; }
  int version() const { return version_; }
  std::size_t size_bytes() const;                                            // of all parts
  int n_parts() const { return static_cast<int>(other_parts_.size()) + 1; }  // files
  // Whether the bytes are a mapping of the file, so that dropped pages come back from it.
  bool is_mapped() const { return mapping_ != nullptr; }
  // When the file on disk was last changed, of several parts the latest, in nanoseconds since 1970;
  // 0 where none is mapped.
  std::int64_t changed() const;
  // Everything before the tensor data: the header, the metadata and the tensor table.
  std::span<const std::byte> header() const { return header_; }
  // Takes it out of memory where the bytes are a mapping, which gives it again when it is read.
  void drop_header_pages() const;

  // Metadata in file order.
  const std::vector<std::pair<std::string_view, Value>>& metadata() const { return metadata_; }
  const Value* find(std::string_view key) const;  // nullptr when absent

  // Required values; Error when absent or of another kind.
  std::int64_t get_int(std::string_view key) const;
  double get_float(std::string_view key) const;
  bool get_bool(std::string_view key) const;
  std::string_view get_string(std::string_view key) const;
  const Array& get_array(std::string_view key) const;
  // Optional values; Error only when present and of another kind.
  std::int64_t get_int(std::string_view key, std::int64_t fallback) const;
  double get_float(std::string_view key, double fallback) const;
  bool get_bool(std::string_view key, bool fallback) const;
  std::string_view get_string(std::string_view key, std::string_view fallback) const;

  const std::vector<Tensor>& tensors() const { return tensors_; }
  const Tensor* find_tensor(std::string_view name) const;  // nullptr when absent
  // The others: what is in the file besides them can be read all the same.
  const std::vector<UnreadableTensor>& unreadable_tensors() const { return unreadable_tensors_; }
  // Error: there are some; the first is named, with the types that can be read.
  void check_readable() const;

 private:
  friend class Parser;
  static constexpr std::size_t kUnreadable = SIZE_MAX;  // in tensor_index_
  struct Mapping;                                       // owns the mmap; null for parse()

  File();
  static File parse_part(std::span<const std::byte> bytes, std::string name);
  void add_parts(const std::filesystem::path& path);
  void take_tensors(File part);
  const Value& require(std::string_view key, std::string_view kind) const;
  [[noreturn]] void fail_kind(std::string_view key, std::string_view kind,
                              const Value& found) const;

  std::unique_ptr<Mapping> mapping_;
  std::span<const std::byte> bytes_;
  std::span<const std::byte> header_;
  std::string name_;
  int version_ = 0;
  std::vector<std::pair<std::string_view, Value>> metadata_;
  std::unordered_map<std::string_view, std::size_t> metadata_index_;
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string_view, std::size_t> tensor_index_;
  std::vector<UnreadableTensor> unreadable_tensors_;
  std::vector<File> other_parts_;  // of a split model: they own what its tensors view
};

}  // namespace runnel::gguf
