// Where tests find their data: the project's own fixtures always, the reference data when it lies
// beside the checkout.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace runnel::test {

std::filesystem::path source_dir();
inline std::filesystem::path fixture(const std::string& name) {
  return source_dir() / "tests/fixtures" / name;
}
inline std::filesystem::path bundled_model() {
  return source_dir() / "models/novella-7m-q8_0.gguf";
}
inline std::filesystem::path shared(const std::string& name) {
  return source_dir().parent_path() / "shared" / name;
}

}  // namespace runnel::test

// Skips the running test, with the reason, when a file of the reference data is missing.
#define RUNNEL_NEED_SHARED(name)                                          \
  do {                                                                    \
    if (!std::filesystem::exists(::runnel::test::shared(name)))           \
      GTEST_SKIP() << "reference data not beside the checkout: " << name; \
  } while (false)
