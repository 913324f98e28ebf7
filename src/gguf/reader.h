// A cursor over the bytes of a file that never passes their end. Every read names what it reads, so
// that a fault is reported as: file, where (a metadata key, a tensor), field, wanted, found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace runnel::gguf {

// A string from a file as it may be shown: control and non-ASCII bytes as '?', cut after 80 bytes.
std::string printable(std::string_view text);

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  std::size_t offset() const { return offset_; }
  std::size_t remaining() const { return bytes_.size() - offset_; }
  std::span<const std::byte> between(std::size_t begin, std::size_t end) const {
    return bytes_.subspan(begin, end - begin);
  }

  // What is being read from here on: "header", "metadata general.name", "tensor 12".
  void enter(std::string where) { where_ = std::move(where); }

  template <typename T>
  T read(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  // A length of 64 bits, then that many bytes; a view into the file.
  std::string_view read_string(std::string_view field);

  std::span<const std::byte> take(std::uint64_t n_bytes, std::string_view field);

  // Throws unless `count` items of at least `least_bytes` each can still fit in the file.
  void check_count(std::uint64_t count, std::size_t least_bytes, std::string_view field) const;

  // Throws Error "file: where: message".
  [[noreturn]] void fail(const std::string& message) const;

 private:
  std::span<const std::byte> bytes_;
  std::string file_;
  std::string where_ = "header";
  std::size_t offset_ = 0;
};

}  // namespace runnel::gguf
