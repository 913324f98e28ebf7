#include "cli/model_cache.h"

#include <fmt/format.h>

#include <cstdlib>
#include <system_error>

#include "runnel/error.h"

namespace runnel::cli {
namespace fs = std::filesystem;

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Of the last two a relative path counts as unset.
std::optional<fs::path> folder_of_variables() {
  if (const std::string folder = variable("RUNNEL_CACHE"); !folder.empty()) return folder;
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute())
    return cache / "runnel";
  if (const fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache/runnel";
  return std::nullopt;
}

}  // namespace

fs::path cache_folder() {
  if (const std::optional<fs::path> folder = folder_of_variables()) return *folder;
  throw Error("no folder for pulled models: want RUNNEL_CACHE, XDG_CACHE_HOME or HOME to be set");
}

fs::path cached_file(const KnownModel& model) { return cache_folder() / model.file; }

bool is_pulled(const KnownModel& model) {
  std::error_code absent;
  return fs::file_size(cached_file(model), absent) == model.bytes && !absent;
}

std::optional<fs::path> bundled_file() {
  std::error_code absent;
  const fs::path folder = fs::read_symlink("/proc/self/exe", absent).parent_path();
  for (const char* models : {"../share/runnel/models", "../models"}) {
    const fs::path file = folder / models / "novella-7m-q8_0.gguf";
    if (fs::exists(file, absent)) return file.lexically_normal();
  }
  return std::nullopt;
}

std::string model_file(const std::string& given) {
  std::error_code absent;
  if (given == kBundledModel && !fs::exists(given, absent))
    return bundled_file().value_or(given).string();
  const KnownModel* known = find_known_model(given);
  if (fs::exists(given, absent)) return given;
  if (known == nullptr) {
    const bool is_path = given.find('/') != std::string::npos || given.ends_with(".gguf");
    if (is_path) return given;  // whose absence loading names
    throw Error(fmt::format("{}: no such file, nor a name of 'runnel pull --list' ({})", given,
                            known_names()));
  }
  if (is_pulled(*known)) return cached_file(*known);
  throw Error(fmt::format("{}: not pulled yet: 'runnel pull {}' fetches it ({} MB)", given, given,
                          known->bytes / 1'000'000));
}

std::optional<std::string> default_model_file() {
  if (const std::string chosen = variable("RUNNEL_MODEL"); !chosen.empty())
    return model_file(chosen);
  const KnownModel* model = find_known_model(kDefaultModel);
  if (!folder_of_variables() || !is_pulled(*model)) return std::nullopt;
  return cached_file(*model);
}

std::string model_nickname(const std::string& path) {
  const fs::path file = fs::path(path).lexically_normal();
  if (folder_of_variables()) {
    for (const KnownModel& known : known_models()) {
      if (file == cached_file(known).lexically_normal()) return std::string(known.name);
    }
  }
  const fs::path name = file.has_filename() ? file.filename() : file.parent_path().filename();
  return name.extension() == ".gguf" ? name.stem().string() : name.string();
}

}  // namespace runnel::cli
