// What stands behind the C interface's handles, and how every call is guarded: nothing leaves it
// but a status. Structs of the caller are read and written by the size they say.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/runnel.c.h"
#include "runnel/runnel.h"

namespace runnel::c {

// A model with what belongs to all of its streams.
class SharedModel : public Model {
 public:
  explicit SharedModel(Model model) : Model(std::move(model)), device_name_(device().name) {}
  const std::string& device_name() const { return device_name_; }
  const Constraints& constraints() const;  // made when they are first asked for

 private:
  std::string device_name_;
  mutable std::once_flag once_;
  mutable std::optional<Constraints> constraints_;
};

}  // namespace runnel::c

// Streams hold the model too, because callers with a garbage collector close in any order.
struct runnel_model {
  std::shared_ptr<const runnel::c::SharedModel> model;
};

struct runnel_stream {
  std::shared_ptr<const runnel::c::SharedModel> model;
  runnel::Stream stream;
  std::string text;  // of the last step, where the caller reads it
};

namespace runnel::c {

// Keeps the text for runnel_error().
runnel_status fail(runnel_status status, const char* text) noexcept;
// The status of the exception that is being handled.
runnel_status fail_as_thrown() noexcept;

template <typename Action>
runnel_status guarded(Action action) noexcept {
  try {
    action();
    return RUNNEL_OK;
  } catch (...) {
    return fail_as_thrown();
  }
}

// Error when a pointer that has to be there is not.
void want(const void* pointer, const char* name);

// A struct of the caller, at most as much of it as it says; the rest as `value` has it. Error: a
// size of 0, or something but zero where this library knows no field.
void check_size(std::size_t size, std::size_t known, const void* from, const char* name);
template <typename Struct>
void read_struct(Struct& value, const Struct* from, const char* name) {
  if (from == nullptr) return;
  check_size(from->size, sizeof(Struct), from, name);
  std::memcpy(&value, from, std::min(from->size, sizeof(Struct)));
}
template <typename Struct>
void write_struct(const Struct& value, void* to, std::size_t size) {
  const std::size_t n_bytes = std::min(size, sizeof(Struct));
  std::memcpy(to, &value, n_bytes);
  std::memset(static_cast<char*>(to) + n_bytes, 0, size - n_bytes);
  std::memcpy(to, &size, sizeof(size));
}
// Into an options struct that its caller has not filled yet.
template <typename Struct>
void init_struct(const Struct& value, Struct* to, std::size_t size) {
  if (to != nullptr && size >= sizeof(std::size_t)) write_struct(value, to, size);
}

std::string_view text_of(const char* text, std::size_t n_bytes, const char* name);
std::span<const Token> tokens_of(const runnel_token* tokens, std::size_t n_tokens);

// Memory for runnel_free().
void* allocate(std::size_t n_bytes);
template <typename T>
void give(std::span<const T> values, T** out, std::size_t* n) {
  T* memory = static_cast<T*>(allocate(values.size_bytes()));
  if (!values.empty()) std::memcpy(memory, values.data(), values.size_bytes());
  *out = memory;
  *n = values.size();
}
void give_text(std::string_view text, char** out, std::size_t* n_bytes);

ModelOptions model_options(const runnel_model_options* options);
StreamOptions stream_options(const runnel_stream_options* options);
SamplingOptions sampling_options(const runnel_sampling* sampling);

}  // namespace runnel::c
