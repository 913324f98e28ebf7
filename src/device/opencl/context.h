// One OpenCL device: its queue, its memory and its programs. Everything is enqueued in order on one
// queue; only read(), write() and finish() wait. Memory may be taken, read and written by several
// threads, as streams are saved and forked; programs and launches are those of the thread that
// holds the model.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device/device.h"
#include "device/opencl/loader.h"
#include "device/opencl/recording.h"

namespace runnel::opencl {

inline std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
inline cl_int number(std::size_t n) { return static_cast<cl_int>(n); }

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
  // For one launch: the next call may give the same again.
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
  void launch(Kernel& kernel, std::array<std::size_t, 3> groups, std::size_t group_size,
              std::size_t group_height = 1);

  // Kernels that the recording has to itself.
  std::deque<Kernel>* recorded_kernels() { return recording_ ? &recorded_kernels_ : nullptr; }
  bool can_record() const { return static_cast<bool>(command_buffers_); }
  // Launches go into a recording, until it is taken.
  void record();
  struct Recorded {
    std::deque<Kernel> kernels;
    Recording launches;
  };
  Recorded take_recording();
  void drop_recording();
  void run(Recording& recording);

  // Seconds of run(), alone, without its launches in the counters.
  template <typename Run>
  double time_uncounted(Run run) {
    finish();
    const std::uint64_t launches = counters().launches;
    const auto began = std::chrono::steady_clock::now();
    run();
    finish();
    const auto ended = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    counters_.launches = launches;
    return std::chrono::duration<double>(ended - began).count();
  }

  DeviceCounters counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
  }
  void count_seconds(double seconds) {
    const std::lock_guard lock(mutex_);
    counters_.seconds += seconds;
  }
  bool has_doubles() const { return has_doubles_; }
  std::uint64_t next_id() { return ++last_id_; }
  // Work-items of a group at most.
  std::size_t largest_group() const { return largest_group_; }
  // What product.cl needs to know of the device: how dot products of bytes are made here, and among
  // how many work-items a row is split.
  const std::string& product_options() const { return product_options_; }
  // Work-items of a group of product.cl: 16 rows by the splits.
  std::size_t product_group() const { return 16 * n_splits_; }

 private:
  friend class Buffer;
  std::string find_dot_option();
  void finish_locked();

  const Api& api_;
  Found device_;
  std::uint64_t memory_limit_;
  cl_context context_ = nullptr;
  cl_command_queue queue_ = nullptr;
  CommandBufferApi command_buffers_;
  std::deque<Kernel> recorded_kernels_;
  std::optional<Recording> recording_;  // that is made now
  std::size_t largest_group_ = 0;
  bool has_doubles_ = false;
  std::atomic<std::uint64_t> last_id_ = 0;
  mutable std::mutex mutex_;                    // of the rest, but programs_
  std::deque<std::vector<std::byte>> written_;  // by write_later(), perhaps not yet taken
  std::size_t written_bytes_ = 0;
  DeviceCounters counters_;
  std::size_t n_splits_ = 8;
  std::string product_options_;
  std::map<std::string, std::unique_ptr<Program>> programs_;
};

}  // namespace runnel::opencl
