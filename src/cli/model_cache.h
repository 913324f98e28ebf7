// Where pulled models lie, and what a model on the command line means: a file, or one of their
// names.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "cli/model_catalogue.h"

namespace runnel::cli {

// $RUNNEL_CACHE, $XDG_CACHE_HOME/runnel, or ~/.cache/runnel. Error: none of them is set.
std::filesystem::path cache_folder();

std::filesystem::path cached_file(const KnownModel& model);
bool is_pulled(const KnownModel& model);  // a file of the right size; pull checks the content

// The small model that comes with the program, where it lies: of an installation or of a checkout.
inline constexpr std::string_view kBundledModel = "novella";
std::optional<std::filesystem::path> bundled_file();

// The file that `given` names: itself, the bundled model, or where a known model lies that was
// pulled. Error: a known model that was not pulled.
std::string model_file(const std::string& given);

// What RUNNEL_MODEL names, or the default model when it was pulled. Error as above.
std::optional<std::string> default_model_file();

// What clients of a server call the model of this file: its name where it was pulled, else the
// file's without its ending.
std::string model_nickname(const std::string& path);

}  // namespace runnel::cli
