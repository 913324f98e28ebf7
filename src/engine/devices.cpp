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

constexpr int kUsualChunk = 256;  // StreamOptions::chunk

// What the first n layers take on the device, with one stream of default options.
std::uint64_t bytes_of_layers(Model::Internals& model, int n) {
  StreamOptions options;
  options.kv_rotate = false;
  options.window = std::max(1, std::min(model.config.trained_context - 1 - options.sinks, 2043));
  CacheShape shape = cache_shape(model, options);
  shape.layers.resize(static_cast<std::size_t>(n));
  if (!shape.state_sizes.empty()) shape.state_sizes.resize(shape.layers.size());
  return device_bytes(model.weights, *model.device, n) + KvCache::bytes_of(shape) +
         model.device->bytes_of(step_sizes(model.config, kUsualChunk));
}

// Whether the layers from n on keep the keys that they see themselves: others stay where these are.
bool can_split_at(const Config& config, int n) {
  for (int i = n; i < config.n_layers; ++i) {
    if (config.key_layer(i) < n) return false;
  }
  return true;
}

// As many layers as the device's memory holds.
int layers_that_fit(Model::Internals& model, const ModelOptions& options) {
  // Other programs and the driver take a part of what is there.
  const std::uint64_t limit =
      options.device_memory > 0 ? options.device_memory : model.device->memory_limit() / 10 * 9;
  int n = model.config.n_layers;
  while (n > 0 && (bytes_of_layers(model, n) > limit || !can_split_at(model.config, n))) --n;
  if (n == 0) {
    throw Error(fmt::format(
        "{}: {}: want {} bytes of device memory for one layer, its cache and buffers, found {}",
        model.file.name(), model.device->description().name, bytes_of_layers(model, 1), limit));
  }
  return n;
}

}  // namespace

void Model::Internals::choose_devices(const ModelOptions& options) {
  cpu = make_cpu_device(*threads);
  const std::optional<int> index = index_of(options.device);
  if (!index || options.device_layers == 0) {
    stages.push_back({cpu.get(), config.n_layers});
    return;
  }
  device = make_opencl_device(*index, options.device_memory);
  const ModelNeeds needs = {.head_dim = config.head_dim,
                            .states = config.has_state(),
                            .output_gates = config.has_output_gate};
  if (const std::string lack = device->lacks(needs); !lack.empty()) {
    throw Error(fmt::format("{}: {} does not run {} models: {}", file.name(),
                            device->description().name, config.architecture, lack));
  }
  const int n_device_layers = options.device_layers
                                  ? std::min(*options.device_layers, config.n_layers)
                                  : layers_that_fit(*this, options);
  if (!can_split_at(config, n_device_layers)) {
    int most = n_device_layers;
    while (!can_split_at(config, most)) --most;
    throw Error(fmt::format(
        "{}: layers on the device: want all {}, or {} at most, for later ones share their keys; "
        "found {}",
        file.name(), config.n_layers, most, n_device_layers));
  }
  stages.push_back({device.get(), n_device_layers});
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
