// A saved stream goes on, for commands.
#pragma once

#include <filesystem>

#include "runnel/runnel.h"

namespace runnel::cli {

// Tells where the stream was saved on another device, whose sums are rounded otherwise. Error: as
// Model::resume.
Stream resume(const Model& model, const std::filesystem::path& path);

}  // namespace runnel::cli
