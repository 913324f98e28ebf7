#include "device/opencl/tuning.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <fstream>

#include "device/opencl/program_cache.h"

namespace runnel::opencl {

Tuning::Tuning(const Context& context) {
  const std::filesystem::path folder = cache_folder();
  if (folder.empty()) return;
  const std::string device = context.description().name + '\n' + context.description().driver;
  path_ = folder / fmt::format("opencl-{:016x}.tuned", XXH3_64bits(device.data(), device.size()));
  std::ifstream in(path_);
  std::string key;
  for (std::size_t size = 0; in >> key >> size;) sizes_[key] = size;
}

std::optional<std::size_t> Tuning::find(const std::string& key,
                                        std::span<const std::size_t> sizes) const {
  const auto found = sizes_.find(key);
  if (found == sizes_.end() || std::find(sizes.begin(), sizes.end(), found->second) == sizes.end())
    return std::nullopt;
  return found->second;
}

void Tuning::keep(const std::string& key, std::size_t size) {
  sizes_[key] = size;
  if (path_.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(path_.parent_path(), error);
  std::ofstream(path_, std::ios::app) << fmt::format("{} {}\n", key, size);  // in one write
}

}  // namespace runnel::opencl
