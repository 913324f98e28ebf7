#include "gguf/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "gguf/parser.h"

namespace runnel::gguf {
namespace {

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

std::size_t regular_file_bytes(const Descriptor& file, const std::string& name) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail_with_errno(name, "read its size");
  if (S_ISDIR(status.st_mode)) throw Error(name + ": want a GGUF file, found a directory");
  if (!S_ISREG(status.st_mode)) throw Error(name + ": want a GGUF file, found a device or pipe");
  return static_cast<std::size_t>(status.st_size);
}

}  // namespace

// Read-only and private; a file of no bytes has no mapping.
struct File::Mapping {
  explicit Mapping(const std::string& name) {
    const Descriptor file(name);
    size = regular_file_bytes(file, name);
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
};

File::File() = default;
File::File(File&&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;

File File::open(const std::filesystem::path& path) {
  auto mapping = std::make_unique<Mapping>(path.string());
  File file = parse(mapping->bytes(), path.string());
  file.mapping_ = std::move(mapping);
  return file;
}

File File::parse(std::span<const std::byte> bytes, std::string name) {
  File file;
  file.bytes_ = bytes;
  Parser(bytes, name, file).parse();
  file.name_ = std::move(name);
  return file;
}

const Value* File::find(std::string_view key) const {
  const auto found = metadata_index_.find(key);
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second].second;
}

const Tensor* File::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
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
