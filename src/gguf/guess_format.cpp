#include "gguf/guess_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "gguf/reader.h"

namespace runnel::gguf {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kKnownStarts = {{
    {"FUGG", "a big-endian GGUF file"},
    {"lmgg", "a ggml file of the time before GGUF"},
    {"fmgg", "a ggml file (GGMF) of the time before GGUF"},
    {"tjgg", "a ggml file (GGJT) of the time before GGUF"},
    {"algg", "a ggml adapter file (GGLA) of the time before GGUF"},
    {"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint"},
    {"\x1f\x8b", "a gzip archive"},
    {"version https://git-lfs", "a Git LFS pointer instead of the file it points to"},
    {"<", "an HTML or XML page"},
}};

bool is_safetensors(std::string_view text) {
  std::uint64_t header_bytes = 0;
  if (text.size() < 10 || text[8] != '{') return false;
  std::memcpy(&header_bytes, text.data(), sizeof header_bytes);
  return header_bytes <= text.size() - sizeof header_bytes;
}

bool is_text(std::string_view start) {
  return std::all_of(start.begin(), start.end(), [](unsigned char c) {
    return (c >= 0x20 && c < 0x7f) || c >= 0x80 || c == '\n' || c == '\r' || c == '\t';
  });
}

}  // namespace

std::string guess_format(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const auto& [start, meaning] : kKnownStarts) {
    if (text.starts_with(start)) return std::string(meaning);
  }
  if (is_safetensors(text)) return "a safetensors file";
  const std::string_view start = text.substr(0, 24);
  if (is_text(start)) return fmt::format("text: \"{}\"", printable(start));
  std::string hex;
  for (const unsigned char c : text.substr(0, 4)) hex += fmt::format(" {:02x}", c);
  return "the bytes" + hex;
}

}  // namespace runnel::gguf
