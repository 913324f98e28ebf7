// Programs built for a device, kept as binaries in the user's cache folder.
#pragma once

#include <filesystem>
#include <string>

#include "device/opencl/loader.h"

namespace runnel::opencl {

// The user's, for what is found out once; empty: there is none.
std::filesystem::path cache_folder();

class Context;

// Builds a program, or takes the binary of an earlier build of the same source and options for the
// same device and driver: opencl-HASH.bin in $RUNNEL_CACHE, $XDG_CACHE_HOME/runnel or
// ~/.cache/runnel. A cache that cannot be read or written is done without. Error: the source does
// not build; with the driver's log.
cl_program build_cached(Context& context, const std::string& source, const std::string& options);

}  // namespace runnel::opencl
