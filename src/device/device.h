// A processor that runs a model's steps: its weights, the memory of its caches, and its operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "device/operations.h"

namespace runnel {

struct DeviceDescription {
  std::string name;
  std::string driver;
  std::string extensions;  // separated by blanks
  bool is_gpu = false;
  std::uint64_t memory_bytes = 0;
  std::uint64_t largest_buffer = 0;  // bytes
  std::uint64_t local_bytes = 0;     // of a work-group
  std::uint32_t n_units = 0;
};

struct DeviceCounters {
  std::uint64_t memory_bytes = 0;    // taken now
  std::uint64_t launches = 0;        // since the device was opened
  std::uint64_t recorded_steps = 0;  // whose launches were one command
  double seconds = 0;                // spent in steps
};

// What not every device has operations for.
struct ModelNeeds {
  int head_dim = 0;
  bool states = false;        // layers that keep a state instead of keys and values
  bool output_gates = false;  // of attention
};

// Multiply-adds a second, in registers, of the instructions that products are made of; 0: not
// measured.
struct DevicePeaks {
  double int8 = 0;
  double floats = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  // Rows, buffers and operations for steps of up to sizes.max_tokens; borrows the device.
  // std::bad_alloc or Error: not so much memory.
  virtual std::unique_ptr<Operations> operations(const StepSizes& sizes) = 0;

  // Error: not so much memory.
  virtual std::unique_ptr<LogitsRow> logits_row(int vocabulary_size) = 0;

  // For a device with memory of its own: takes matrices of one shape and type that operations will
  // multiply with, one, or several that are chosen from by row (experts); their stored bytes are
  // not read again. Error: not so much memory.
  virtual void take(std::span<const Matrix* const>) {}
  // What operations() and take() would take, about. 0: nothing.
  virtual std::uint64_t bytes_of(const StepSizes&) const { return 0; }
  virtual std::uint64_t bytes_of(const Matrix&) const { return 0; }
  // What may be taken in all; 0: unknown.
  virtual std::uint64_t memory_limit() const { return 0; }

  // Where caches of its layers lie; null: in the processor's memory, where its weights are too.
  virtual KvMemorySource* cache_memory() { return nullptr; }

  // What of a model this device cannot run, in words; empty: nothing.
  virtual std::string lacks(const ModelNeeds&) const { return {}; }
  virtual DeviceDescription description() const = 0;
  virtual DeviceCounters counters() const { return {}; }
  // Bytes a second that it reads and writes when it copies its own memory, of one pass; 0: not
  // measured this way.
  virtual double copy_rate() { return 0; }
  virtual DevicePeaks peaks() { return {}; }
};

// Layers that follow one another, and who runs them.
struct Stage {
  Device* device;
  int n_layers;
};

// This machine's processor, with the best of its kernels or the given ones. Borrows both.
std::unique_ptr<Device> make_cpu_device(ThreadPool& threads,
                                        const kernels::Table& table = kernels::best_table());

// Device `index` of list_opencl_devices(); no more than `memory_limit` bytes are taken of its
// memory (0: what it has). Error: no loader, no driver, no such device.
std::unique_ptr<Device> make_opencl_device(int index, std::uint64_t memory_limit = 0);
// Empty, and why in *reason, where there is none.
std::vector<DeviceDescription> list_opencl_devices(std::string* reason);

}  // namespace runnel
