// The one exception type of the library.
#pragma once

#include <stdexcept>

namespace runnel {

// Thrown for everything that comes from outside: a bad file, a bad request, a full disk. The
// message names the thing, what was wanted and what was found.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace runnel
