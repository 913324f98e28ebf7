// JSON files of a folder, with errors that name the file.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

namespace runnel::hf {

// Error: the text is no JSON object.
nlohmann::json parse_object(std::string_view text, const std::string& name);
// Error: the file is not there, or is no JSON object.
nlohmann::json read_json(const std::filesystem::path& path);
// None when the file is not there.
std::optional<nlohmann::json> find_json(const std::filesystem::path& path);

}  // namespace runnel::hf
