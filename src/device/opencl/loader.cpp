#include "device/opencl/loader.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <type_traits>
#include <utility>

#include "runnel/error.h"

namespace runnel::opencl {
namespace {

struct Loaded {
  Api api;
  std::string reason;  // empty: all there
};

// RUNNEL_OPENCL names another loader, or one that is not there to be without.
Loaded load() {
  const char* const given = std::getenv("RUNNEL_OPENCL");
  const char* const name = given != nullptr ? given : "libOpenCL.so.1";
  Loaded loaded;
  void* const library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    loaded.reason = fmt::format("no OpenCL loader ({})", ::dlerror());
    return loaded;
  }
  const auto find = [&](const char* function, auto& place) {
    place = reinterpret_cast<std::remove_reference_t<decltype(place)>>(::dlsym(library, function));
    if (place == nullptr) loaded.reason = fmt::format("{} has no {}", name, function);
  };
  Api& api = loaded.api;
  find("clGetPlatformIDs", api.clGetPlatformIDs);
  find("clGetDeviceIDs", api.clGetDeviceIDs);
  find("clGetDeviceInfo", api.clGetDeviceInfo);
  find("clCreateContext", api.clCreateContext);
  find("clReleaseContext", api.clReleaseContext);
  find("clCreateCommandQueue", api.clCreateCommandQueue);
  find("clReleaseCommandQueue", api.clReleaseCommandQueue);
  find("clCreateBuffer", api.clCreateBuffer);
  find("clReleaseMemObject", api.clReleaseMemObject);
  find("clCreateProgramWithSource", api.clCreateProgramWithSource);
  find("clCreateProgramWithBinary", api.clCreateProgramWithBinary);
  find("clBuildProgram", api.clBuildProgram);
  find("clGetProgramInfo", api.clGetProgramInfo);
  find("clGetProgramBuildInfo", api.clGetProgramBuildInfo);
  find("clReleaseProgram", api.clReleaseProgram);
  find("clCreateKernel", api.clCreateKernel);
  find("clReleaseKernel", api.clReleaseKernel);
  find("clSetKernelArg", api.clSetKernelArg);
  find("clEnqueueNDRangeKernel", api.clEnqueueNDRangeKernel);
  find("clEnqueueReadBuffer", api.clEnqueueReadBuffer);
  find("clEnqueueWriteBuffer", api.clEnqueueWriteBuffer);
  find("clEnqueueCopyBuffer", api.clEnqueueCopyBuffer);
  find("clEnqueueFillBuffer", api.clEnqueueFillBuffer);
  find("clFinish", api.clFinish);
  api.clGetExtensionFunctionAddressForPlatform =
      reinterpret_cast<decltype(api.clGetExtensionFunctionAddressForPlatform)>(
          ::dlsym(library, "clGetExtensionFunctionAddressForPlatform"));
  return loaded;
}

constexpr std::pair<cl_int, const char*> kNames[] = {
    {CL_DEVICE_NOT_FOUND, "device not found"},
    {CL_DEVICE_NOT_AVAILABLE, "device not available"},
    {CL_COMPILER_NOT_AVAILABLE, "compiler not available"},
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, "not enough device memory"},
    {CL_OUT_OF_RESOURCES, "out of resources"},
    {CL_OUT_OF_HOST_MEMORY, "out of host memory"},
    {CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, "a command failed on the device"},
    {CL_BUILD_PROGRAM_FAILURE, "the program does not build"},
    {CL_INVALID_BUFFER_SIZE, "buffer too large for the device"},
    {CL_INVALID_WORK_GROUP_SIZE, "work-group too large for the device"},
    {CL_INVALID_KERNEL_ARGS, "invalid kernel arguments"},
    {CL_INVALID_COMMAND_QUEUE, "the device is lost"},
    {-1001, "no platform (no driver is installed)"}};

}  // namespace

const Api* find_api(std::string* reason) {
  static const Loaded loaded = load();
  if (reason != nullptr) *reason = loaded.reason;
  return loaded.reason.empty() ? &loaded.api : nullptr;
}

void check(cl_int status, const char* what) {
  if (status == CL_SUCCESS) return;
  for (const auto& [code, name] : kNames) {
    if (code == status) throw Error(fmt::format("OpenCL: {}: {}", what, name));
  }
  throw Error(fmt::format("OpenCL: {}: error {}", what, status));
}

}  // namespace runnel::opencl
