// One OpenCL device: its queue, its memory and its programs. Everything is enqueued in order on one
// queue; only read() waits.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device/device.h"
#include "device/opencl/loader.h"

namespace runnel::opencl {

struct Found {
  cl_device_id id = nullptr;
  DeviceDescription description;
};
// All devices of all platforms; GPUs first. Error: no loader, or a driver that fails.
std::vector<Found> find_devices(const Api& api);

class Context;

// Memory of the device; empty: none.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Context& context, cl_mem memory, std::size_t n_bytes)
      : context_(&context), memory_(memory), n_bytes_(n_bytes) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  const cl_mem& memory() const { return memory_; }
  std::size_t bytes() const { return n_bytes_; }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  Context* context_ = nullptr;
  cl_mem memory_ = nullptr;
  std::size_t n_bytes_ = 0;
};

// Room in a work-group's own memory, as an argument of a kernel.
struct LocalBytes {
  std::size_t n;
};

class Kernel {
 public:
  Kernel(const Api& api, cl_program program, const char* name);
  Kernel(Kernel&& other) noexcept
      : api_(other.api_), kernel_(std::exchange(other.kernel_, nullptr)) {}
  ~Kernel();

  template <typename... Args>
  void set(const Args&... args) {
    cl_uint index = 0;
    (set_one(index++, args), ...);
  }
  cl_kernel id() const { return kernel_; }

 private:
  template <typename T>
  void set_one(cl_uint index, const T& value) {
    set_bytes(index, sizeof(value), &value);
  }
  void set_one(cl_uint index, const Buffer& buffer) {
    set_bytes(index, sizeof(cl_mem), &buffer.memory());
  }
  void set_one(cl_uint index, LocalBytes bytes) { set_bytes(index, bytes.n, nullptr); }
  void set_bytes(cl_uint index, std::size_t n, const void* value);

  const Api& api_;
  cl_kernel kernel_;
};

class Program {
 public:
  Program(Context& context, const std::string& source, const std::string& options);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  Kernel& kernel(const std::string& name);

 private:
  Context& context_;
  cl_program program_ = nullptr;
  std::map<std::string, Kernel> kernels_;
};

class Context {
 public:
  // Takes at most memory_limit bytes of the device's memory; 0: what it has.
  explicit Context(Found device, std::uint64_t memory_limit = 0);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Api& api() const { return api_; }
  const DeviceDescription& description() const { return device_.description; }
  cl_device_id device() const { return device_.id; }
  cl_context id() const { return context_; }

  std::uint64_t memory_limit() const { return memory_limit_; }

  // Zeros. Error: not so much memory.
  Buffer take(std::size_t n_bytes);
  void write(const Buffer& to, std::size_t offset, std::span<const std::byte> bytes);  // waits
  // The same of a copy of the bytes, without waiting.
  void write_later(const Buffer& to, std::span<const std::byte> bytes);
  void read(const Buffer& from, std::size_t offset, std::span<std::byte> bytes);  // waits
  void copy(const Buffer& from, std::size_t from_offset, const Buffer& to, std::size_t to_offset,
            std::size_t n_bytes);

  void finish();  // waits for all that was enqueued

  // Of one of the kernel sources, built with options when first asked for: rows, attention, or
  // product with the definitions of a form of weights.
  Program& program(std::string_view source, const std::string& options = {});
  void launch(Kernel& kernel, std::array<std::size_t, 3> groups, std::size_t group_size);

  // Seconds of run(), alone, without its launches in the counters.
  template <typename Run>
  double time_uncounted(Run run) {
    finish();
    const std::uint64_t launches = counters_.launches;
    const auto began = std::chrono::steady_clock::now();
    run();
    finish();
    counters_.launches = launches;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }

  const DeviceCounters& counters() const { return counters_; }
  void count_seconds(double seconds) { counters_.seconds += seconds; }
  // Work-items of a group at most.
  std::size_t largest_group() const { return largest_group_; }
  // How dot products of bytes are made here: a definition for product.cl.
  const std::string& dot_option() const { return dot_option_; }

 private:
  friend class Buffer;
  std::string find_dot_option();
  void forget_written();

  const Api& api_;
  Found device_;
  std::uint64_t memory_limit_;
  cl_context context_ = nullptr;
  cl_command_queue queue_ = nullptr;
  std::size_t largest_group_ = 0;
  std::deque<std::vector<std::byte>> written_;  // by write_later(), perhaps not yet taken
  std::size_t written_bytes_ = 0;
  DeviceCounters counters_;
  std::string dot_option_;
  std::map<std::string, std::unique_ptr<Program>> programs_;
};

}  // namespace runnel::opencl
