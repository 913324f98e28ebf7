// A processor that runs a model's steps.
#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "device/operations.h"

namespace runnel {

class Device {
 public:
  virtual ~Device() = default;

  // Rows, buffers and operations for steps of up to sizes.max_tokens; borrows the device.
  // std::bad_alloc or Error: not so much memory.
  virtual std::unique_ptr<Operations> operations(const StepSizes& sizes) = 0;
};

// This machine's processor. Borrows the threads.
std::unique_ptr<Device> make_cpu_device(ThreadPool& threads);

}  // namespace runnel
