#include "device/cpu/cpu_operations.h"
#include "device/device.h"

namespace runnel {
namespace {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(ThreadPool& threads) : threads_(threads) {}
  std::unique_ptr<Operations> operations(const StepSizes& sizes) override {
    return std::make_unique<cpu::CpuOperations>(sizes, threads_);
  }
  DeviceDescription description() const override {
    return {.name = "the processor", .driver = kernels::best_table().name};
  }

 private:
  ThreadPool& threads_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(ThreadPool& threads) {
  return std::make_unique<CpuDevice>(threads);
}

}  // namespace runnel
