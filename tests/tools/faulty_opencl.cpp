// An OpenCL loader that fails when it is told to: RUNNEL_OPENCL names it, and RUNNEL_FAULT says
// which call ("launch", "read", "buffer", or "recorded" launches) from which number on ends with
// which status, as "launch:100:-36". What is not here comes from the loader that it is linked with.
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <string>

namespace {

// 0: let it pass. A device that failed is lost: it launches and reads nothing more.
cl_int fault(const std::string& call) {
  static std::map<std::string, long> counts;
  static bool is_lost = false;
  const char* const text = std::getenv("RUNNEL_FAULT");
  const std::string told = text != nullptr ? text : "";
  const std::size_t name = told.find(':');
  if (name == std::string::npos) return CL_SUCCESS;
  char* end = nullptr;
  const long from = std::strtol(told.c_str() + name + 1, &end, 10);
  const bool is_told = told.compare(0, name, call) == 0 && ++counts[call] >= from;
  is_lost |= is_told && call != "buffer";
  if (!is_told && !(is_lost && call != "buffer")) return CL_SUCCESS;
  return static_cast<cl_int>(std::strtol(end + 1, nullptr, 10));
}

template <typename Function>
Function* real(const char* name, Function*) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

clEnqueueCommandBufferKHR_fn real_run = nullptr;

cl_int CL_API_CALL run_recorded(cl_uint n_queues, cl_command_queue* queues,
                                cl_command_buffer_khr launches, cl_uint n, const cl_event* events,
                                cl_event* event) {
  const cl_int wrong = fault("recorded");
  if (wrong != CL_SUCCESS) return wrong;
  return real_run(n_queues, queues, launches, n, events, event);
}

}  // namespace

#define REAL(name) real(#name, &name)

extern "C" {

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t n, void* host,
                      cl_int* status) {
  const cl_int wrong = fault("buffer");
  if (wrong == CL_SUCCESS) return REAL(clCreateBuffer)(context, flags, n, host, status);
  *status = wrong;
  return nullptr;
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims,
                              const size_t* offset, const size_t* global, const size_t* local,
                              cl_uint n, const cl_event* events, cl_event* event) {
  const cl_int wrong = fault("launch");
  if (wrong != CL_SUCCESS) return wrong;
  return REAL(clEnqueueNDRangeKernel)(queue, kernel, dims, offset, global, local, n, events, event);
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool waits, size_t offset,
                           size_t n_bytes, void* to, cl_uint n, const cl_event* events,
                           cl_event* event) {
  const cl_int wrong = fault("read");
  if (wrong != CL_SUCCESS) return wrong;
  return REAL(clEnqueueReadBuffer)(queue, buffer, waits, offset, n_bytes, to, n, events, event);
}

void* clGetExtensionFunctionAddressForPlatform(cl_platform_id platform, const char* name) {
  void* const found = REAL(clGetExtensionFunctionAddressForPlatform)(platform, name);
  if (found == nullptr || std::string(name) != "clEnqueueCommandBufferKHR") return found;
  real_run = reinterpret_cast<clEnqueueCommandBufferKHR_fn>(found);
  return reinterpret_cast<void*>(&run_recorded);
}

}  // extern "C"
