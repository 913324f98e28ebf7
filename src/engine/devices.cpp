// Who runs a model's layers, and what devices there are.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/internals.h"

namespace runnel {
namespace {

constexpr std::string_view kOpenClPrefix = "opencl:";

// The index of the device an option names; nullopt: the processor.
std::optional<int> index_of(const std::string& device) {
  if (device.empty() || device == "cpu") return std::nullopt;
  if (device == "gpu") {
    std::string reason;
    const std::vector<DeviceDescription> all = list_opencl_devices(&reason);
    if (all.empty()) throw Error(fmt::format("device gpu: {}", reason));
    if (!all.front().is_gpu) {
      throw Error(
          fmt::format("device gpu: OpenCL has no GPU; opencl:0 is {} and takes its place "
                      "where it is named",
                      all.front().name));
    }
    return 0;
  }
  int index = -1;
  if (device.starts_with(kOpenClPrefix)) {
    const char* const end = device.data() + device.size();
    const auto result = std::from_chars(device.data() + kOpenClPrefix.size(), end, index);
    if (result.ec == std::errc() && result.ptr == end && index >= 0) return index;
  }
  throw Error(fmt::format("device: want cpu, gpu or opencl:N, found {}", device));
}

}  // namespace

void Model::Internals::choose_devices(const ModelOptions& options) {
  cpu = make_cpu_device(*threads);
  if (const std::optional<int> index = index_of(options.device))
    device = make_opencl_device(*index);
  const int n_device_layers =
      device == nullptr
          ? 0
          : std::min(options.device_layers.value_or(config.n_layers), config.n_layers);
  if (n_device_layers == 0) device.reset();
  const bool has_other_routers =
      config.has_sigmoid_router ||
      std::any_of(weights.layers.begin(), weights.layers.end(), [](const LayerWeights& layer) {
        return layer.shared_gate.weight || !layer.router_bias.empty();
      });
  const ModelNeeds needs = {.head_dim = config.head_dim,
                            .norms_behind_rotation = config.normalizes_rotated,
                            .states = config.has_state(),
                            .output_gates = config.has_output_gate,
                            .other_routers = has_other_routers};
  if (const std::string lack = device == nullptr ? "" : device->lacks(needs); !lack.empty()) {
    throw Error(fmt::format("{}: {} does not run {} models: {}", file.name(),
                            device->description().name, config.architecture, lack));
  }
  if (n_device_layers > 0) stages.push_back({device.get(), n_device_layers});
  if (n_device_layers < config.n_layers)
    stages.push_back({cpu.get(), config.n_layers - n_device_layers});
}

Model::DeviceUse Model::device() const {
  const Internals& m = *internals_;
  const Device* const device = m.device != nullptr ? m.device.get() : m.cpu.get();
  if (device == nullptr) return {};
  const std::lock_guard lock(m.mutex);
  const DeviceCounters counters = device->counters();
  return {.name = device->description().name,
          .is_cpu = m.device == nullptr,
          .layers = m.device == nullptr ? 0 : m.stages.front().n_layers,
          .memory_bytes = counters.memory_bytes,
          .launches = counters.launches,
          .seconds = counters.seconds};
}

std::vector<DeviceInfo> devices(std::string* reason) {
  std::vector<DeviceInfo> all;
  for (DeviceDescription& d : list_opencl_devices(reason)) {
    all.push_back({.id = fmt::format("{}{}", kOpenClPrefix, all.size()),
                   .name = std::move(d.name),
                   .driver = std::move(d.driver),
                   .is_gpu = d.is_gpu,
                   .memory_bytes = d.memory_bytes,
                   .largest_buffer_bytes = d.largest_buffer,
                   .units = static_cast<int>(d.n_units),
                   .extensions = std::move(d.extensions)});
  }
  return all;
}

}  // namespace runnel
