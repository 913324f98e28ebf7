#include "device/opencl/context.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "device/opencl/program_cache.h"
#include "device/opencl/sources.h"
#include "device/opencl/weights.h"
#include "runnel/error.h"

namespace runnel::opencl {
namespace {

std::string text_of(const Api& api, cl_device_id device, cl_device_info what) {
  std::size_t n = 0;
  check(api.clGetDeviceInfo(device, what, 0, nullptr, &n), "a device's description");
  std::string text(n, '\0');
  check(api.clGetDeviceInfo(device, what, n, text.data(), nullptr), "a device's description");
  while (!text.empty() && (text.back() == '\0' || text.back() == ' ')) text.pop_back();
  return text;
}

template <typename T>
T number_of(const Api& api, cl_device_id device, cl_device_info what) {
  T value{};
  check(api.clGetDeviceInfo(device, what, sizeof(value), &value, nullptr),
        "a device's description");
  return value;
}

DeviceDescription describe(const Api& api, cl_device_id device) {
  const auto type = number_of<cl_device_type>(api, device, CL_DEVICE_TYPE);
  return {.name = text_of(api, device, CL_DEVICE_NAME),
          .driver = text_of(api, device, CL_DEVICE_VERSION) + ", driver " +
                    text_of(api, device, CL_DRIVER_VERSION),
          .extensions = text_of(api, device, CL_DEVICE_EXTENSIONS),
          .is_gpu = (type & CL_DEVICE_TYPE_GPU) != 0,
          .memory_bytes = number_of<cl_ulong>(api, device, CL_DEVICE_GLOBAL_MEM_SIZE),
          .largest_buffer = number_of<cl_ulong>(api, device, CL_DEVICE_MAX_MEM_ALLOC_SIZE),
          .local_bytes = number_of<cl_ulong>(api, device, CL_DEVICE_LOCAL_MEM_SIZE),
          .n_units = number_of<cl_uint>(api, device, CL_DEVICE_MAX_COMPUTE_UNITS)};
}

}  // namespace

std::vector<Found> find_devices(const Api& api) {
  cl_uint n_platforms = 0;
  const cl_int status = api.clGetPlatformIDs(0, nullptr, &n_platforms);
  if (status == -1001) return {};  // a loader without drivers
  check(status, "platforms");
  std::vector<cl_platform_id> platforms(n_platforms);
  if (n_platforms > 0)
    check(api.clGetPlatformIDs(n_platforms, platforms.data(), nullptr), "platforms");
  std::vector<Found> all;
  for (const cl_platform_id platform : platforms) {
    cl_uint n = 0;
    if (api.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, nullptr, &n) != CL_SUCCESS) continue;
    std::vector<cl_device_id> ids(n);
    check(api.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, n, ids.data(), nullptr), "devices");
    for (const cl_device_id id : ids) all.push_back({id, describe(api, id)});
  }
  std::stable_sort(all.begin(), all.end(), [](const Found& a, const Found& b) {
    return a.description.is_gpu && !b.description.is_gpu;
  });
  return all;
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(context_, other.context_);
  std::swap(memory_, other.memory_);
  std::swap(n_bytes_, other.n_bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (memory_ == nullptr) return;
  context_->api().clReleaseMemObject(memory_);
  const std::lock_guard lock(context_->mutex_);
  context_->counters_.memory_bytes -= n_bytes_;
}

Kernel::Kernel(const Api& api, cl_program program, const char* name) : api_(api) {
  cl_int status = CL_SUCCESS;
  kernel_ = api.clCreateKernel(program, name, &status);
  check(status, name);
}

Kernel::~Kernel() {
  if (kernel_ != nullptr) api_.clReleaseKernel(kernel_);
}

void Kernel::set_bytes(cl_uint index, std::size_t n, const void* value) {
  check(api_.clSetKernelArg(kernel_, index, n, value), "an argument of a kernel");
}

Program::Program(Context& context, const std::string& source, const std::string& options)
    : context_(context), program_(build_cached(context, source, options)) {}

Program::~Program() {
  kernels_.clear();
  context_.api().clReleaseProgram(program_);
}

Kernel& Program::kernel(const std::string& name) {
  if (auto* const recorded = context_.recorded_kernels())
    return recorded->emplace_back(context_.api(), program_, name.c_str());
  const auto found = kernels_.find(name);
  if (found != kernels_.end()) return found->second;
  return kernels_.emplace(name, Kernel(context_.api(), program_, name.c_str())).first->second;
}

Context::Context(Found device, std::uint64_t memory_limit)
    : api_(*find_api()),
      device_(std::move(device)),
      memory_limit_(memory_limit > 0 ? memory_limit : device_.description.memory_bytes) {
  cl_int status = CL_SUCCESS;
  context_ = api_.clCreateContext(nullptr, 1, &device_.id, nullptr, nullptr, &status);
  check(status, device_.description.name.c_str());
  queue_ = api_.clCreateCommandQueue(context_, device_.id, 0, &status);
  if (status != CL_SUCCESS) api_.clReleaseContext(context_);
  check(status, device_.description.name.c_str());
  largest_group_ = number_of<std::size_t>(api_, device_.id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
  has_doubles_ = device_.description.extensions.find("cl_khr_fp64") != std::string::npos;
  if (device_.description.extensions.find("cl_khr_command_buffer") != std::string::npos)
    command_buffers_ = find_command_buffers(api_, device_.id);
  // A product of few rows keeps a GPU's memory busy only when many work-items wait for it.
  if (device_.description.is_gpu)
    n_splits_ = largest_group_ >= 1024 ? 32 : largest_group_ >= 256 ? 16 : 8;
  product_options_ = fmt::format("-DSPLITS={}", n_splits_);
  product_options_ += find_dot_option();
}

Context::~Context() {
  api_.clFinish(queue_);
  drop_recording();
  programs_.clear();
  api_.clReleaseCommandQueue(queue_);
  api_.clReleaseContext(context_);
}

// The first way that builds and gives the right sum, or none: then bytes are multiplied one by one.
std::string Context::find_dot_option() {
  for (const char* option : {" -DDOT_KHR", " -DDOT_NVIDIA"}) {
    const bool is_khr = std::string_view(option) == " -DDOT_KHR";
    const bool may_work =
        is_khr
            ? device_.description.extensions.find("cl_khr_integer_dot_product") != std::string::npos
            : device_.description.extensions.find("cl_nv_") != std::string::npos;
    if (!may_work) continue;
    try {
      Program test(*this, std::string(kCommonSource) + std::string(kProductSource),
                   product_options_ + option + " -DTEST_DOT " + kPlainForm);
      Buffer result = take(sizeof(cl_int));
      test.kernel("test_dot").set(result);
      launch(test.kernel("test_dot"), {1, 1, 1}, 1);
      cl_int sum = 0;
      read(result, 0, std::as_writable_bytes(std::span(&sum, 1)));
      if (sum == 255 * -128 + 3 * 127 + 200 * -1 + 7) return option;
    } catch (const Error&) {
      continue;  // not here
    }
  }
  return {};
}

Buffer Context::take(std::size_t n_bytes) {
  n_bytes = std::max<std::size_t>(n_bytes, 64);
  const auto refuse = [&] {
    throw Error(
        fmt::format("{}: want {} bytes of device memory, and there is not so much ({} are "
                    "taken of {}; one buffer may have {})",
                    device_.description.name, n_bytes, counters_.memory_bytes, memory_limit_,
                    device_.description.largest_buffer));
  };
  cl_mem memory = nullptr;
  cl_int status = CL_SUCCESS;
  {
    const std::lock_guard lock(mutex_);
    if (counters_.memory_bytes + n_bytes > memory_limit_) refuse();
    memory = api_.clCreateBuffer(context_, CL_MEM_READ_WRITE, n_bytes, nullptr, &status);
    if (status != CL_SUCCESS) refuse();
    counters_.memory_bytes += n_bytes;
  }
  Buffer buffer(*this, memory, n_bytes);
  const cl_uchar zero = 0;
  status = api_.clEnqueueFillBuffer(queue_, memory, &zero, 1, 0, n_bytes, 0, nullptr, nullptr);
  // Drivers find room when memory is first used.
  if (status == CL_MEM_OBJECT_ALLOCATION_FAILURE || status == CL_OUT_OF_RESOURCES) refuse();
  check(status, "filling a buffer");
  return buffer;
}

void Context::write(const Buffer& to, std::size_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  check(api_.clEnqueueWriteBuffer(queue_, to.memory(), CL_TRUE, offset, bytes.size(), bytes.data(),
                                  0, nullptr, nullptr),
        "writing to the device");
}

void Context::write_later(const Buffer& to, std::span<const std::byte> bytes) {
  constexpr std::size_t kMostKept = std::size_t{64} << 20;
  if (bytes.empty()) return;
  const std::lock_guard lock(mutex_);
  if (written_bytes_ > kMostKept) finish_locked();
  const auto& kept = written_.emplace_back(bytes.begin(), bytes.end());
  written_bytes_ += kept.size();
  check(api_.clEnqueueWriteBuffer(queue_, to.memory(), CL_FALSE, 0, kept.size(), kept.data(), 0,
                                  nullptr, nullptr),
        "writing to the device");
}

void Context::read(const Buffer& from, std::size_t offset, std::span<std::byte> bytes) {
  if (bytes.empty()) return;
  const std::lock_guard lock(mutex_);
  check(api_.clEnqueueReadBuffer(queue_, from.memory(), CL_TRUE, offset, bytes.size(), bytes.data(),
                                 0, nullptr, nullptr),
        "reading from the device");
  // The queue is in order: who has waited has waited for all before.
  written_.clear();
  written_bytes_ = 0;
}

void Context::copy(const Buffer& from, std::size_t from_offset, const Buffer& to,
                   std::size_t to_offset, std::size_t n_bytes) {
  check(api_.clEnqueueCopyBuffer(queue_, from.memory(), to.memory(), from_offset, to_offset,
                                 n_bytes, 0, nullptr, nullptr),
        "copying on the device");
}

void Context::finish() {
  const std::lock_guard lock(mutex_);
  finish_locked();
}

void Context::finish_locked() {
  check(api_.clFinish(queue_), "waiting for the device");
  written_.clear();
  written_bytes_ = 0;
}

Program& Context::program(std::string_view source, const std::string& options) {
  auto& program = programs_[std::string(source.substr(0, 64)) + options];
  if (program == nullptr) {
    program =
        std::make_unique<Program>(*this, std::string(kCommonSource) + std::string(source), options);
  }
  return *program;
}

void Context::launch(Kernel& kernel, std::array<std::size_t, 3> groups, std::size_t group_size,
                     std::size_t group_height) {
  const std::size_t global[] = {groups[0] * group_size, groups[1] * group_height, groups[2]};
  const std::size_t local[] = {group_size, group_height, 1};
  if (recording_) return recording_->add(kernel.id(), global, local);
  check(api_.clEnqueueNDRangeKernel(queue_, kernel.id(), 3, nullptr, global, local, 0, nullptr,
                                    nullptr),
        "launching a kernel");
  const std::lock_guard lock(mutex_);
  ++counters_.launches;
}

void Context::record() {
  drop_recording();
  recording_.emplace(command_buffers_, queue_);
}

Context::Recorded Context::take_recording() {
  recording_->finish();
  Recorded taken = {std::move(recorded_kernels_), std::move(*recording_)};
  drop_recording();
  return taken;
}

void Context::drop_recording() {
  recording_.reset();
  recorded_kernels_.clear();
}

void Context::run(Recording& recording) {
  recording.enqueue();
  const std::lock_guard lock(mutex_);
  counters_.launches += recording.launches();
  ++counters_.recorded_steps;
}

}  // namespace runnel::opencl
