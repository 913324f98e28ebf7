// Launches that are recorded once and run again as one command (cl_khr_command_buffer), where the
// driver has that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "device/opencl/loader.h"

namespace runnel::opencl {

// The extension's functions; all null: not there.
struct CommandBufferApi {
  clCreateCommandBufferKHR_fn create = nullptr;
  clReleaseCommandBufferKHR_fn release = nullptr;
  clFinalizeCommandBufferKHR_fn finalize = nullptr;
  clEnqueueCommandBufferKHR_fn enqueue = nullptr;
  clCommandNDRangeKernelKHR_fn launch = nullptr;

  explicit operator bool() const { return launch != nullptr; }
};
CommandBufferApi find_command_buffers(const Api& api, cl_device_id device);

// Launches with the arguments that their kernels had, one after the other.
class Recording {
 public:
  // Error: the driver fails.
  Recording(const CommandBufferApi& api, cl_command_queue queue);
  Recording(Recording&& other) noexcept
      : api_(other.api_),
        queue_(other.queue_),
        buffer_(std::exchange(other.buffer_, nullptr)),
        n_launches_(other.n_launches_),
        last_(other.last_) {}
  ~Recording();

  // The kernel keeps its arguments for as long as the recording lives: drivers may read them when
  // it runs (PoCL 3.1 does).
  void add(cl_kernel kernel, const std::size_t* global, const std::size_t* local);
  void finish();   // nothing more is added
  void enqueue();  // not while it runs
  std::uint64_t launches() const { return n_launches_; }

 private:
  const CommandBufferApi& api_;
  cl_command_queue queue_;
  cl_command_buffer_khr buffer_ = nullptr;
  std::uint64_t n_launches_ = 0;
  cl_sync_point_khr last_ = 0;
};

}  // namespace runnel::opencl
