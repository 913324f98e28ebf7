#include "device/opencl/program_cache.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "device/opencl/context.h"
#include "runnel/error.h"

namespace runnel::opencl {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOptions = "-cl-std=CL1.2 ";

fs::path place_of(const Context& context, const std::string& source, const std::string& options) {
  const fs::path folder = opencl::cache_folder();
  if (folder.empty()) return {};
  const std::string key = context.description().name + '\n' + context.description().driver + '\n' +
                          options + '\n' + source;
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return folder / fmt::format("opencl-{:016x}{:016x}.bin", hash.high64, hash.low64);
}

std::string log_of(const Context& context, cl_program program) {
  std::size_t n = 0;
  const Api& api = context.api();
  api.clGetProgramBuildInfo(program, context.device(), CL_PROGRAM_BUILD_LOG, 0, nullptr, &n);
  std::string log(n, '\0');
  api.clGetProgramBuildInfo(program, context.device(), CL_PROGRAM_BUILD_LOG, n, log.data(),
                            nullptr);
  while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) log.pop_back();
  return log;
}

// Null: no binary there, or one that the driver does not take.
cl_program from_binary(const Context& context, const fs::path& path, const std::string& options) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
  if (bytes.empty()) return nullptr;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const std::size_t n = bytes.size();
  const cl_device_id device = context.device();
  const Api& api = context.api();
  cl_int status = CL_SUCCESS;
  const cl_program program =
      api.clCreateProgramWithBinary(context.id(), 1, &device, &n, &data, nullptr, &status);
  if (status != CL_SUCCESS) return nullptr;
  if (api.clBuildProgram(program, 1, &device, options.c_str(), nullptr, nullptr) == CL_SUCCESS)
    return program;
  api.clReleaseProgram(program);
  return nullptr;
}

// Programs that no run wanted for so long: of versions and drivers that are gone.
constexpr std::chrono::hours kForgottenAfter{24 * 180};

void forget_unused(const fs::path& folder) {
  std::error_code error;
  const fs::file_time_type oldest = fs::file_time_type::clock::now() - kForgottenAfter;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path path = entry->path();
    const bool is_program =
        path.filename().string().starts_with("opencl-") && path.extension() == ".bin";
    std::error_code of_file;
    if (is_program && fs::last_write_time(path, of_file) < oldest && !of_file)
      fs::remove(path, of_file);
  }
}

// To a file of our own name first, so that nobody reads half of it.
void keep_binary(const Context& context, cl_program program, const fs::path& path) {
  std::size_t n = 0;
  const Api& api = context.api();
  if (api.clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof(n), &n, nullptr) !=
          CL_SUCCESS ||
      n == 0)
    return;
  std::vector<unsigned char> bytes(n);
  unsigned char* data = bytes.data();
  if (api.clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof(data), &data, nullptr) !=
      CL_SUCCESS)
    return;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const fs::path temporary = fs::path(path) += fmt::format(".{}", ::getpid());
  {
    std::ofstream out(temporary, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(n));
    if (!out.flush()) return void(fs::remove(temporary, error));
  }
  fs::rename(temporary, path, error);
  if (error) fs::remove(temporary, error);
  forget_unused(path.parent_path());
}

}  // namespace

std::filesystem::path cache_folder() {
  if (const char* const cache = std::getenv("RUNNEL_CACHE"); cache != nullptr && *cache != '\0')
    return cache;
  if (const char* const cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0')
    return fs::path(cache) / "runnel";
  const char* const home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? fs::path() : fs::path(home) / ".cache" / "runnel";
}

cl_program build_cached(Context& context, const std::string& source, const std::string& given) {
  const std::string options = kOptions + given;
  const fs::path path = place_of(context, source, options);
  if (!path.empty()) {
    if (const cl_program program = from_binary(context, path, options)) {
      std::error_code error;  // a folder that cannot be written to: nothing is forgotten there
      fs::last_write_time(path, fs::file_time_type::clock::now(), error);
      return program;
    }
  }
  const Api& api = context.api();
  const char* text = source.c_str();
  cl_int status = CL_SUCCESS;
  const cl_program program =
      api.clCreateProgramWithSource(context.id(), 1, &text, nullptr, &status);
  check(status, "a program");
  const cl_device_id device = context.device();
  status = api.clBuildProgram(program, 1, &device, options.c_str(), nullptr, nullptr);
  if (status != CL_SUCCESS) {
    const std::string log = log_of(context, program);
    api.clReleaseProgram(program);
    throw Error(fmt::format("{}: the kernels do not build ({}):\n{}", context.description().name,
                            given, log));
  }
  if (!path.empty()) keep_binary(context, program, path);
  return program;
}

}  // namespace runnel::opencl
