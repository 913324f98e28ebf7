#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "device/device.h"
#include "device/opencl/kv_memory.h"
#include "device/opencl/opencl_operations.h"
#include "device/opencl/sources.h"
#include "device/opencl/tuning.h"
#include "runnel/error.h"

namespace runnel {
namespace opencl {
namespace {

constexpr int kLargestHead = 512;  // of attention.cl

class OpenClDevice final : public Device, private KvMemorySource {
 public:
  OpenClDevice(Found found, std::uint64_t memory_limit)
      : context_(std::move(found), memory_limit), weights_(context_), tuning_(context_) {}

  std::unique_ptr<Operations> operations(const StepSizes& sizes) override {
    return std::make_unique<OpenClOperations>(context_, weights_, tuning_, sizes);
  }
  std::unique_ptr<LogitsRow> logits_row(int vocabulary_size) override {
    return std::make_unique<DeviceLogits>(context_, vocabulary_size);
  }
  void take(std::span<const Matrix* const> matrices) override { weights_.take(matrices); }
  std::uint64_t bytes_of(const StepSizes& sizes) const override {
    return OpenClOperations::bytes_of(sizes);
  }
  std::uint64_t bytes_of(const Matrix& matrix) const override { return opencl::bytes_of(matrix); }
  std::uint64_t memory_limit() const override { return context_.memory_limit(); }
  std::string lacks(const ModelNeeds& needs) const override {
    if (needs.head_dim > kLargestHead)
      return fmt::format("heads of {} numbers (at most {})", needs.head_dim, kLargestHead);
    if (needs.states) return "layers that keep a state instead of keys and values";
    if (needs.output_gates) return "attention with output gates";
    return {};
  }
  KvMemorySource* cache_memory() override { return this; }
  DeviceDescription description() const override { return context_.description(); }
  DeviceCounters counters() const override { return context_.counters(); }
  double copy_rate() override {
    const std::size_t n_bytes =
        description().is_gpu ? std::size_t{256} << 20 : std::size_t{64} << 20;
    if (!copied_) {
      copied_ = context_.take(n_bytes);
      copy_ = context_.take(n_bytes);
    }
    context_.finish();
    const auto began = std::chrono::steady_clock::now();
    context_.copy(copied_, 0, copy_, 0, n_bytes);
    context_.finish();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    return 2 * static_cast<double>(n_bytes) / took.count();
  }
  DevicePeaks peaks() override {
    return {.int8 = rate_of("peak_int8", 8 * 4), .floats = rate_of("peak_float", 16)};
  }

 private:
  // Multiply-adds a second of a kernel that makes so many in a round: the best of a few runs.
  double rate_of(const char* name, int per_round) {
    Program& program = context_.program(
        kProductSource, context_.product_options() + " -DMEASURES " + std::string(kPlainForm));
    Kernel& kernel = program.kernel(name);
    constexpr std::size_t kGroup = 128;
    const std::size_t n_groups = std::size_t{description().n_units} * 16;
    const Buffer out = context_.take(n_groups * kGroup * sizeof(cl_int));
    double best = 0;
    for (cl_int rounds = 1024, run = 0; run < 8; ++run) {
      kernel.set(rounds, out);
      const double seconds = context_.time_uncounted([&] {
        context_.launch(kernel, {n_groups, 1, 1}, kGroup);
      });
      best = std::max(best, static_cast<double>(n_groups * kGroup) * rounds * per_round / seconds);
      if (seconds < 0.02) rounds *= 4;
    }
    return best;
  }
  std::unique_ptr<KvMemory> take(std::size_t n_bytes) override {
    return std::make_unique<OpenClKvMemory>(context_, context_.take(n_bytes));
  }

  Context context_;
  WeightStore weights_;
  Tuning tuning_;
  Buffer copied_, copy_;  // of copy_rate()
};

}  // namespace
}  // namespace opencl

std::vector<DeviceDescription> list_opencl_devices(std::string* reason) {
  const opencl::Api* const api = opencl::find_api(reason);
  if (api == nullptr) return {};
  std::vector<DeviceDescription> all;
  for (opencl::Found& found : opencl::find_devices(*api))
    all.push_back(std::move(found.description));
  if (all.empty() && reason != nullptr) *reason = "OpenCL has no device (no driver is installed)";
  return all;
}

std::unique_ptr<Device> make_opencl_device(int index, std::uint64_t memory_limit) {
  std::string reason;
  const opencl::Api* const api = opencl::find_api(&reason);
  if (api == nullptr) throw Error(fmt::format("device: {}", reason));
  std::vector<opencl::Found> all = opencl::find_devices(*api);
  if (index < 0 || index >= static_cast<int>(all.size())) {
    throw Error(all.empty() ? std::string("device: OpenCL has no device (no driver is installed)")
                            : fmt::format("device: want opencl:0 to opencl:{}, found opencl:{}",
                                          all.size() - 1, index));
  }
  return std::make_unique<opencl::OpenClDevice>(std::move(all[static_cast<std::size_t>(index)]),
                                                memory_limit);
}

}  // namespace runnel
