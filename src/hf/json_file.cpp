#include "hf/json_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/json_depth.h"
#include "runnel/error.h"

namespace runnel::hf {

nlohmann::json parse_object(std::string_view text, const std::string& name) {
  if (is_nested_deeper(text)) {
    throw Error(fmt::format("{}: want JSON of at most {} levels, found more", name, kDeepestJson));
  }
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_object()) throw Error(fmt::format("{}: want a JSON object, found none", name));
  return value;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const int code = errno;
    throw FileError(fmt::format("{}: cannot open: {}", path.string(), std::strerror(code)), code);
  }
  const std::string text(std::istreambuf_iterator<char>(in), {});
  return parse_object(text, path.string());
}

std::optional<nlohmann::json> find_json(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  return read_json(path);
}

}  // namespace runnel::hf
