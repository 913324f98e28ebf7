#include "hf/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "hf/json_file.h"
#include "runnel/error.h"

namespace runnel::hf {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kLargestHeader = std::uint64_t{100} << 20;  // as the format says

[[noreturn]] void fail_with_errno(const std::string& name, const char* action) {
  const int code = errno;
  throw FileError(fmt::format("{}: cannot {}: {}", name, action, std::strerror(code)), code);
}

// Bytes of an element; 0 for a type that is not known.
std::uint64_t element_bytes(const std::string& dtype) {
  static const std::map<std::string, std::uint64_t> sizes = {
      {"F64", 8},  {"I64", 8}, {"U64", 8}, {"F32", 4}, {"I32", 4}, {"U32", 4}, {"F16", 2},
      {"BF16", 2}, {"I16", 2}, {"U16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}};
  const auto found = sizes.find(dtype);
  return found == sizes.end() ? 0 : found->second;
}

std::uint64_t product(const std::vector<std::int64_t>& shape, std::uint64_t element,
                      std::uint64_t most) {
  std::uint64_t n = element;
  for (const std::int64_t size : shape) {
    if (size < 0 || (size > 0 && n > most / static_cast<std::uint64_t>(size)))
      return std::numeric_limits<std::uint64_t>::max();
    n *= static_cast<std::uint64_t>(size);
  }
  return n;
}

Tensor tensor_of(const Json& entry, std::span<const std::byte> data, const std::string& name) {
  const auto fail = [&](const std::string& what) {
    throw Error(fmt::format("{}: {}", name, what));
  };
  Tensor tensor;
  std::vector<std::uint64_t> range;
  try {
    tensor.dtype = entry.at("dtype").get<std::string>();
    tensor.shape = entry.at("shape").get<std::vector<std::int64_t>>();
    range = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
  } catch (const Json::exception&) {
    fail("want dtype, shape and data_offsets");
  }
  if (range.size() != 2 || range[0] > range[1] || range[1] > data.size())
    fail(fmt::format("want a range of {} bytes of data, found another", data.size()));
  tensor.data = data.subspan(range[0], range[1] - range[0]);
  const std::uint64_t element = element_bytes(tensor.dtype);
  if (element != 0 && product(tensor.shape, element, data.size()) != tensor.data.size()) {
    fail(fmt::format("want as many bytes as its shape and {} need, found {}", tensor.dtype,
                     tensor.data.size()));
  }
  if (tensor.dtype == "F32") tensor.type = TensorType::kF32;
  if (tensor.dtype == "F16") tensor.type = TensorType::kF16;
  if (tensor.dtype == "BF16") tensor.type = TensorType::kBF16;
  return tensor;
}

}  // namespace

struct Safetensors::Mapping {
  explicit Mapping(const std::string& name) {
    const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) fail_with_errno(name, "open");
    struct stat status = {};
    const bool is_file = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    n_bytes = is_file ? static_cast<std::size_t>(status.st_size) : 0;
    if (n_bytes > 0) data = ::mmap(nullptr, n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (n_bytes == 0) throw Error(fmt::format("{}: want a file of tensors, found none", name));
    if (data == MAP_FAILED) fail_with_errno(name, "map");
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { ::munmap(data, n_bytes); }

  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(data), n_bytes};
  }
  void* data = MAP_FAILED;
  std::size_t n_bytes = 0;
};

Safetensors::Safetensors(Safetensors&&) noexcept = default;
Safetensors::~Safetensors() = default;

Safetensors::Safetensors(const std::filesystem::path& folder) {
  const auto index = find_json(folder / "model.safetensors.index.json");
  if (!index) {
    add(folder / "model.safetensors");
    return;
  }
  std::set<std::string> names;
  const auto weights = index->find("weight_map");
  if (weights != index->end() && weights->is_object()) {
    for (const auto& file : *weights)
      if (file.is_string()) names.insert(file.get<std::string>());
  }
  for (const std::string& name : names) {
    if (std::filesystem::path(name).filename() != name)
      throw Error(fmt::format("{}: want names of files in it, found {}", folder.string(), name));
    add(folder / name);
  }
}

void Safetensors::add(const std::filesystem::path& path) {
  const std::string name = path.string();
  files_.push_back(std::make_unique<Mapping>(name));
  const std::span<const std::byte> bytes = files_.back()->bytes();
  std::uint64_t n_header = 0;
  if (bytes.size() < sizeof(n_header))
    throw Error(fmt::format("{}: want a file of safetensors, found {} bytes", name, bytes.size()));
  std::memcpy(&n_header, bytes.data(), sizeof(n_header));
  if (n_header > kLargestHeader || n_header > bytes.size() - sizeof(n_header))
    throw Error(fmt::format("{}: its header says {} bytes, which do not fit", name, n_header));
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + sizeof(n_header);
  const Json header = parse_object({text, n_header}, name);
  const auto data = bytes.subspan(sizeof(n_header) + n_header);
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") continue;
    tensors_.insert_or_assign(key, tensor_of(entry, data, fmt::format("{}: tensor {}", name, key)));
  }
}

}  // namespace runnel::hf
