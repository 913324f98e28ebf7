// The exceptions of the library.
#pragma once

#include <stdexcept>
#include <string>

namespace runnel {

// Thrown for everything that comes from outside: a bad file, a bad request, a full disk. The
// message names the thing, what was wanted and what was found.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Of these, a file that cannot be opened, read or written; the system's reason is in the message.
class FileError : public Error {
 public:
  FileError(const std::string& message, int code) : Error(message), code_(code) {}
  int code() const { return code_; }  // errno

 private:
  int code_;
};

}  // namespace runnel
