// A stream in a file or in memory. Everything that decides what the stream will produce next is in
// it.
//
// Layout, little-endian: the magic "runnel\0\1" (the last byte is the version), the fields in the
// order of Snapshot below, the number of pinned tokens, the layers' windows, whether the cache is
// rotated, and the device (files of older programs end before one of these, and resume with none),
// and the XXH3-128 hash of all before it. Lengths stand before what they count.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/fingerprint.h"
#include "runnel/options.h"

namespace runnel {

struct Snapshot {
  Fingerprint model{};
  StreamOptions options;  // resolved; pin_tokens are the first of the visible ones
  std::int64_t position = 0;
  std::int64_t cache_position = 0;
  std::int64_t cache_capacity = 0;
  std::uint64_t random_state = 0;
  std::string pending_text;
  bool text_at_start = true;
  std::vector<Token> visible;
  std::vector<float> logits;
  std::vector<std::byte> cache;
  std::string device;  // who ran the layers, as Model::device() names it; empty: not known
};

// Writes the snapshot, with `cache` in place of snapshot.cache, as a ReplacedFile. Error: what
// failed, with the system's reason; the old file is then untouched.
void write_snapshot(const std::filesystem::path& path, const Snapshot& snapshot,
                    std::span<const std::byte> cache);

// The content of such a file.
std::vector<std::byte> snapshot_bytes(const Snapshot& snapshot, std::span<const std::byte> cache);

// Error: not a stream file, a version this library does not read, truncated or damaged.
Snapshot read_snapshot(const std::filesystem::path& path);
// The same from the file's content; `name` stands for the path in errors.
Snapshot read_snapshot(std::span<const std::byte> bytes, std::string_view name);

}  // namespace runnel
