// Real models in the cache folder, where `runnel pull` leaves them.
#pragma once

#include <gtest/gtest.h>

#include "cli/model_cache.h"

// Skips the running test, with the reason, when the model was not pulled; otherwise `path` is its
// file.
#define RUNNEL_NEED_PULLED(name, path)                                           \
  if (!::runnel::cli::is_pulled(*::runnel::cli::find_known_model(name)))         \
    GTEST_SKIP() << name << " is not in the cache folder: runnel pull " << name; \
  const std::filesystem::path path =                                             \
      ::runnel::cli::cached_file(*::runnel::cli::find_known_model(name))
