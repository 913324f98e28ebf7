#include "gguf/reader.h"

#include <fmt/format.h>

#include "runnel/error.h"

namespace runnel::gguf {

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string shown(text.substr(0, kLongest));
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > kLongest) shown += "...";
  return shown;
}

std::string_view Reader::read_string(std::string_view field) {
  const auto length = read<std::uint64_t>(field);
  const std::span<const std::byte> bytes = take(length, field);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> Reader::take(std::uint64_t n_bytes, std::string_view field) {
  if (n_bytes > remaining()) {
    fail(fmt::format("{}: want {} bytes at offset {}, the file has {} left (size {})", field,
                     n_bytes, offset_, remaining(), bytes_.size()));
  }
  const auto taken = bytes_.subspan(offset_, static_cast<std::size_t>(n_bytes));
  offset_ += taken.size();
  return taken;
}

void Reader::check_count(std::uint64_t count, std::size_t least_bytes,
                         std::string_view field) const {
  if (count > remaining() / least_bytes) {
    fail(fmt::format("{}: {} items of at least {} bytes do not fit in the {} bytes left (size {})",
                     field, count, least_bytes, remaining(), bytes_.size()));
  }
}

void Reader::fail(const std::string& message) const {
  throw Error(fmt::format("{}: {}: {}", file_, where_, message));
}

}  // namespace runnel::gguf
