// What the files of the Python module share. The classes here are plain: the package's Python files
// give them their Pythonic face.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/runnel.h"

namespace runnel::python {

namespace nb = nanobind;

// A model with what its streams' constraints are made of, once it is asked for.
class PyModel {
 public:
  explicit PyModel(Model loaded) : model(std::move(loaded)) {}

  const Constraints& constraints() const {
    std::call_once(*once_, [this] { constraints_.emplace(model); });
    return *constraints_;
  }

  Model model;

 private:
  std::unique_ptr<std::once_flag> once_ = std::make_unique<std::once_flag>();
  mutable std::optional<Constraints> constraints_;
};

// A stream that refuses a second thread while one is in a call, since the interpreter's lock is not
// held there.
class PyStream {
 public:
  explicit PyStream(Stream stream) : stream_(std::move(stream)) {}

  Stream& use() { return stream_; }
  std::unique_lock<std::mutex> lock() {
    std::unique_lock lock(*mutex_, std::try_to_lock);
    if (!lock) throw Error("stream: want one thread at a time, found it in use by another");
    return lock;
  }

 private:
  Stream stream_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
};

// Calls a Python function from a thread that has given the interpreter's lock away, and looks for
// Ctrl-C. What Python raised is kept, and thrown by finish() when the lock is there again.
class Reporter {
 public:
  // `told` is called with one number, or is None.
  explicit Reporter(nb::object told) : told_(std::move(told)) {}
  // False: stop.
  bool operator()(std::int64_t done) noexcept;
  void finish() {
    if (raised_) nb::raise_python_error();
  }

 private:
  nb::object told_;
  bool raised_ = false;
};

// Text for Python: what is no UTF-8 becomes U+FFFD.
inline nb::str text_of(std::string_view bytes) {
  return nb::steal<nb::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

// An array that owns its numbers.
template <typename T, typename... Shape>
nb::ndarray<nb::numpy, T> array_of(std::vector<T> values, Shape... shape) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owned->data();
  nb::capsule owner(owned.release(),
                    [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(data, {static_cast<std::size_t>(shape)...}, owner);
}

void bind_streams(nb::module_& m);
void bind_study(nb::module_& m);
void bind_chat(nb::module_& m);

}  // namespace runnel::python
