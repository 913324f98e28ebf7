#include "gguf/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "gguf/parser.h"
#include "gguf/reader.h"

namespace runnel::gguf {
namespace {

constexpr std::string_view kSplitCount = "split.count";
constexpr std::string_view kSplitNumber = "split.no";
constexpr std::string_view kSplitTensors = "split.tensors.count";
constexpr std::int64_t kMostParts = 99999;

// How the name of a part ends, from the first (0) on.
std::string part_ending(std::int64_t part, std::int64_t n_parts) {
  return fmt::format("-{:05}-of-{:05}.gguf", part + 1, n_parts);
}

std::string supported_types() {
  std::string names;
  for (std::uint32_t number = 0; number < 64; ++number) {
    if (const auto type = find_tensor_type(number)) {
      names += (names.empty() ? "" : ", ") + std::string(type->name);
    }
  }
  return names;
}

[[noreturn]] void fail_with_errno(const std::string& name, std::string_view action) {
  const int code = errno;
  throw FileError(fmt::format("{}: cannot {}: {}", name, action, std::strerror(code)), code);
}

class Descriptor {
 public:
  // O_NONBLOCK: a pipe in the place of a file is refused below instead of waited for.
  explicit Descriptor(const std::string& name)
      : fd_(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) fail_with_errno(name, "open");
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct stat regular_file_status(const Descriptor& file, const std::string& name) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail_with_errno(name, "read its size");
  if (S_ISDIR(status.st_mode)) throw Error(name + ": want a GGUF file, found a directory");
  if (!S_ISREG(status.st_mode)) throw Error(name + ": want a GGUF file, found a device or pipe");
  return status;
}

}  // namespace

// Read-only and private; a file of no bytes has no mapping.
struct File::Mapping {
  explicit Mapping(const std::string& name) {
    const Descriptor file(name);
    const struct stat status = regular_file_status(file, name);
    size = static_cast<std::size_t>(status.st_size);
    changed = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
    if (size == 0) return;
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) fail_with_errno(name, "map into memory");
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (size != 0) ::munmap(data, size);
  }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data), size}; }

  void* data = nullptr;
  std::size_t size = 0;
  std::int64_t changed = 0;  // nanoseconds since 1970
};

File::File() = default;
File::File(File&&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;

File File::open(const std::filesystem::path& path) {
  auto mapping = std::make_unique<Mapping>(path.string());
  File file = parse_part(mapping->bytes(), path.string());
  file.mapping_ = std::move(mapping);
  file.add_parts(path);
  return file;
}

File File::parse(std::span<const std::byte> bytes, std::string name) {
  File file = parse_part(bytes, std::move(name));
  if (const std::int64_t n_parts = file.get_int(kSplitCount, 1); n_parts > 1) {
    throw Error(fmt::format("{}: want a whole model in memory, found part {} of {} of a split one",
                            file.name_, file.get_int(kSplitNumber, 0) + 1, n_parts));
  }
  return file;
}

File File::parse_part(std::span<const std::byte> bytes, std::string name) {
  File file;
  file.bytes_ = bytes;
  Parser(bytes, name, file).parse();
  file.name_ = std::move(name);
  return file;
}

// The files that belong to the first part of a split model, in which this finds itself.
void File::add_parts(const std::filesystem::path& path) {
  const std::int64_t n_parts = get_int(kSplitCount, 1);
  if (n_parts <= 1) return;
  const std::int64_t number = get_int(kSplitNumber, 0);
  const std::string first_end = part_ending(0, n_parts);
  const std::string text = path.string();
  if (number != 0) {
    throw Error(fmt::format("{}: part {} of {} of a split model: open the first, which ends in {}",
                            name_, number + 1, n_parts, first_end));
  }
  if (!text.ends_with(first_end) || n_parts > kMostParts) {
    throw Error(fmt::format(
        "{}: part 1 of {} of a split model: want a name that ends in {}, so that the others, at "
        "most {}, are found beside it",
        name_, n_parts, first_end, kMostParts));
  }
  const std::string stem = text.substr(0, text.size() - first_end.size());
  for (std::int64_t i = 1; i < n_parts; ++i) {
    const std::string part_name = stem + part_ending(i, n_parts);
    auto mapping = std::make_unique<Mapping>(part_name);
    File part = parse_part(mapping->bytes(), part_name);
    part.mapping_ = std::move(mapping);
    if (part.get_int(kSplitCount, 1) != n_parts || part.get_int(kSplitNumber, 0) != i) {
      throw Error(fmt::format("{}: want part {} of {} of a split model, found part {} of {}",
                              part_name, i + 1, n_parts, part.get_int(kSplitNumber, 0) + 1,
                              part.get_int(kSplitCount, 1)));
    }
    take_tensors(std::move(part));
  }
  const std::int64_t n_wanted = get_int(kSplitTensors, 0);
  const auto n_found = static_cast<std::int64_t>(tensor_index_.size());
  if (n_wanted != 0 && n_wanted != n_found) {
    throw Error(fmt::format("{}: metadata {}: want {} tensors in {} parts, found {}", name_,
                            kSplitTensors, n_wanted, n_parts, n_found));
  }
}

void File::take_tensors(File part) {
  const auto take = [&](std::string_view tensor, std::size_t place) {
    if (!tensor_index_.emplace(tensor, place).second) {
      throw Error(fmt::format("{}: tensor {}: an earlier part has one of this name", part.name_,
                              printable(tensor)));
    }
  };
  for (const Tensor& tensor : part.tensors_) {
    take(tensor.name, tensors_.size());
    tensors_.push_back(tensor);
  }
  for (const UnreadableTensor& tensor : part.unreadable_tensors_) {
    take(tensor.name, kUnreadable);
    unreadable_tensors_.push_back(tensor);
  }
  other_parts_.push_back(std::move(part));
}

std::size_t File::size_bytes() const {
  std::size_t bytes = bytes_.size();
  for (const File& part : other_parts_) bytes += part.size_bytes();
  return bytes;
}

std::int64_t File::changed() const {
  std::int64_t latest = mapping_ == nullptr ? 0 : mapping_->changed;
  for (const File& part : other_parts_) latest = std::max(latest, part.changed());
  return latest;
}

void File::drop_header_pages() const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (is_mapped()) ::madvise(mapping_->data, header_.size() / page * page, MADV_DONTNEED);
  for (const File& part : other_parts_) part.drop_header_pages();
}

void File::check_readable() const {
  if (unreadable_tensors_.empty()) return;
  const UnreadableTensor& first = unreadable_tensors_.front();
  throw Error(fmt::format("{}: tensor {}: type {} ({}) is not supported; supported: {}", name_,
                          printable(first.name), known_tensor_type_name(first.type_number),
                          first.type_number, supported_types()));
}

const Value* File::find(std::string_view key) const {
  const auto found = metadata_index_.find(key);
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second].second;
}

const Tensor* File::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  const bool is_readable = found != tensor_index_.end() && found->second != kUnreadable;
  return is_readable ? &tensors_[found->second] : nullptr;
}

const Value& File::require(std::string_view key, std::string_view kind) const {
  const Value* value = find(key);
  if (value == nullptr) {
    throw Error(
        fmt::format("{}: metadata {}: want {}, the file has no such key", name_, key, kind));
  }
  return *value;
}

void File::fail_kind(std::string_view key, std::string_view kind, const Value& found) const {
  throw Error(fmt::format("{}: metadata {}: want {}, found {}", name_, key, kind, found.kind()));
}

std::int64_t File::get_int(std::string_view key) const {
  const Value& value = require(key, "an integer");
  const auto found = value.as_int();
  if (found) return *found;
  if (const auto* natural = std::get_if<std::uint64_t>(&value.variant())) {
    throw Error(
        fmt::format("{}: metadata {}: want an integer below 2^63, found {}", name_, key, *natural));
  }
  fail_kind(key, "an integer", value);
}

double File::get_float(std::string_view key) const {
  const Value& value = require(key, "a float");
  const auto found = value.as_float();
  if (!found) fail_kind(key, "a float", value);
  if (!std::isfinite(*found)) {
    throw Error(fmt::format("{}: metadata {}: want a finite number, found {}", name_, key, *found));
  }
  return *found;
}

bool File::get_bool(std::string_view key) const {
  const Value& value = require(key, "a bool");
  const auto found = value.as_bool();
  if (!found) fail_kind(key, "a bool", value);
  return *found;
}

std::string_view File::get_string(std::string_view key) const {
  const Value& value = require(key, "a string");
  const auto found = value.as_string();
  if (!found) fail_kind(key, "a string", value);
  return *found;
}

const Array& File::get_array(std::string_view key) const {
  const Value& value = require(key, "an array");
  const Array* found = value.as_array();
  if (found == nullptr) fail_kind(key, "an array", value);
  return *found;
}

std::int64_t File::get_int(std::string_view key, std::int64_t fallback) const {
  return find(key) != nullptr ? get_int(key) : fallback;
}

double File::get_float(std::string_view key, double fallback) const {
  return find(key) != nullptr ? get_float(key) : fallback;
}

bool File::get_bool(std::string_view key, bool fallback) const {
  return find(key) != nullptr ? get_bool(key) : fallback;
}

std::string_view File::get_string(std::string_view key, std::string_view fallback) const {
  return find(key) != nullptr ? get_string(key) : fallback;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace runnel::gguf
