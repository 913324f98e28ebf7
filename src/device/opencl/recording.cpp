#include "device/opencl/recording.h"

#include <string>

namespace runnel::opencl {

CommandBufferApi find_command_buffers(const Api& api, cl_device_id device) {
  if (api.clGetExtensionFunctionAddressForPlatform == nullptr) return {};
  cl_platform_id platform = nullptr;
  if (api.clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof(platform), &platform, nullptr) !=
      CL_SUCCESS)
    return {};
  // Queues of ours have no properties; a device may want some.
  cl_command_queue_properties wanted = 0;
  if (api.clGetDeviceInfo(device, CL_DEVICE_COMMAND_BUFFER_REQUIRED_QUEUE_PROPERTIES_KHR,
                          sizeof(wanted), &wanted, nullptr) != CL_SUCCESS ||
      wanted != 0)
    return {};
  CommandBufferApi found;
  bool has_all = true;
  const auto find = [&](const char* name, auto& place) {
    place = reinterpret_cast<std::remove_reference_t<decltype(place)>>(
        api.clGetExtensionFunctionAddressForPlatform(platform, name));
    has_all = has_all && place != nullptr;
  };
  find("clCreateCommandBufferKHR", found.create);
  find("clReleaseCommandBufferKHR", found.release);
  find("clFinalizeCommandBufferKHR", found.finalize);
  find("clEnqueueCommandBufferKHR", found.enqueue);
  find("clCommandNDRangeKernelKHR", found.launch);
  return has_all ? found : CommandBufferApi{};
}

Recording::Recording(const CommandBufferApi& api, cl_command_queue queue)
    : api_(api), queue_(queue) {
  cl_int status = CL_SUCCESS;
  buffer_ = api_.create(1, &queue_, nullptr, &status);
  check(status, "recording launches");
}

Recording::~Recording() {
  if (buffer_ != nullptr) api_.release(buffer_);
}

void Recording::add(cl_kernel kernel, const std::size_t* global, const std::size_t* local) {
  const cl_sync_point_khr before = last_;
  check(api_.launch(buffer_, nullptr, nullptr, kernel, 3, nullptr, global, local,
                    n_launches_ > 0 ? 1 : 0, n_launches_ > 0 ? &before : nullptr, &last_, nullptr),
        "recording a launch");
  ++n_launches_;
}

void Recording::finish() { check(api_.finalize(buffer_), "recording launches"); }

void Recording::enqueue() {
  check(api_.enqueue(0, nullptr, buffer_, 0, nullptr, nullptr), "running recorded launches");
}

}  // namespace runnel::opencl
