// The message of the Error that an action throws, for tests that read it.
#pragma once

#include <functional>
#include <string>

#include "runnel/error.h"

namespace runnel::test {

inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace runnel::test
