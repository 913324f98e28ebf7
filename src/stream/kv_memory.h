// Where the bytes of a cache lie: in this process, or on a device that attends to them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace runnel {

class KvMemory {
 public:
  virtual ~KvMemory() = default;

  // The bytes themselves; null: not in this process, and only the other two reach them.
  virtual std::byte* host() = 0;
  virtual void read(std::size_t offset, std::span<std::byte> bytes) const = 0;
  virtual void write(std::size_t offset, std::span<const std::byte> bytes) = 0;
};

class KvMemorySource {
 public:
  virtual ~KvMemorySource() = default;
  // Zeros. Error: not so much memory.
  virtual std::unique_ptr<KvMemory> take(std::size_t n_bytes) = 0;
};

}  // namespace runnel
