// A part of a stream's cache in a device's memory.
#pragma once

#include <utility>

#include "device/opencl/context.h"
#include "stream/kv_memory.h"

namespace runnel::opencl {

class OpenClKvMemory final : public KvMemory {
 public:
  OpenClKvMemory(Context& context, Buffer buffer)
      : context_(context), buffer_(std::move(buffer)), id_(context.next_id()) {}

  std::byte* host() override { return nullptr; }
  void read(std::size_t offset, std::span<std::byte> bytes) const override {
    context_.read(buffer_, offset, bytes);
  }
  void write(std::size_t offset, std::span<const std::byte> bytes) override {
    context_.write(buffer_, offset, bytes);
  }
  const Buffer& buffer() const { return buffer_; }
  std::uint64_t id() const { return id_; }  // no other memory of the device ever has it

 private:
  Context& context_;
  Buffer buffer_;
  std::uint64_t id_;
};

}  // namespace runnel::opencl
