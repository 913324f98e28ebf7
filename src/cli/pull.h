// Fetching a known model into the cache folder, for `pull` and for commands that need one.
#pragma once

#include "cli/model_catalogue.h"

namespace runnel::cli {

// Says what it does on standard error. Errors as fetch_model().
void pull(const KnownModel& model);

}  // namespace runnel::cli
