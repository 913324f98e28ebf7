#include "device/cpu/cpu_operations.h"
#include "device/cpu/host_logits.h"
#include "device/device.h"

namespace runnel {
namespace {

class CpuDevice final : public Device {
 public:
  CpuDevice(ThreadPool& threads, const kernels::Table& table) : threads_(threads), table_(table) {}
  std::unique_ptr<Operations> operations(const StepSizes& sizes) override {
    return std::make_unique<cpu::CpuOperations>(sizes, threads_, table_);
  }
  std::unique_ptr<LogitsRow> logits_row(int vocabulary_size) override {
    return std::make_unique<cpu::HostLogits>(vocabulary_size);
  }
  DeviceDescription description() const override {
    return {.name = "the processor", .driver = table_.name};
  }

 private:
  ThreadPool& threads_;
  const kernels::Table& table_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(ThreadPool& threads, const kernels::Table& table) {
  return std::make_unique<CpuDevice>(threads, table);
}

}  // namespace runnel
