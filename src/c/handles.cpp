#include "c/handles.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <new>

namespace runnel::c {
namespace {

constexpr std::size_t kMostText = 4096;  // bytes of an error
thread_local char last_error[kMostText] = "";

}  // namespace

runnel_status fail(runnel_status status, const char* text) noexcept {
  std::snprintf(last_error, sizeof(last_error), "%s", text);
  return status;
}

runnel_status fail_as_thrown() noexcept {
  try {
    throw;
  } catch (const FileError& error) {
    return fail(RUNNEL_FILE_ERROR, error.what());
  } catch (const Error& error) {
    return fail(RUNNEL_ERROR, error.what());
  } catch (const std::bad_alloc&) {
    return fail(RUNNEL_NO_MEMORY, "not enough memory");
  } catch (const std::exception& error) {
    return fail(RUNNEL_INTERNAL, error.what());
  } catch (...) {
    return fail(RUNNEL_INTERNAL, "unknown exception");
  }
}

void want(const void* pointer, const char* name) {
  if (pointer == nullptr) throw Error(fmt::format("{}: want a pointer, found NULL", name));
}

void check_size(std::size_t size, std::size_t known, const void* from, const char* name) {
  if (size < sizeof(std::size_t))
    throw Error(fmt::format("{}: want its size in the first field, found {}", name, size));
  const auto* bytes = static_cast<const char*>(from);
  for (std::size_t i = known; i < size; ++i) {
    if (bytes[i] != 0)
      throw Error(fmt::format("{}: want at most {} bytes that are used, found a field at byte {}",
                              name, known, i));
  }
}

std::string_view text_of(const char* text, std::size_t n_bytes, const char* name) {
  if (n_bytes == 0) return {};
  want(text, name);
  return n_bytes == RUNNEL_NUL ? std::string_view(text) : std::string_view(text, n_bytes);
}

std::span<const Token> tokens_of(const runnel_token* tokens, std::size_t n_tokens) {
  if (n_tokens == 0) return {};
  want(tokens, "tokens");
  return {tokens, n_tokens};
}

void* allocate(std::size_t n_bytes) {
  void* memory = std::malloc(std::max<std::size_t>(n_bytes, 1));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void give_text(std::string_view text, char** out, std::size_t* n_bytes) {
  char* memory = static_cast<char*>(allocate(text.size() + 1));
  text.copy(memory, text.size());
  memory[text.size()] = '\0';
  *out = memory;
  if (n_bytes != nullptr) *n_bytes = text.size();
}

}  // namespace runnel::c

extern "C" {

const char* runnel_error(void) { return runnel::c::last_error; }
const char* runnel_version(void) { return RUNNEL_VERSION; }
void runnel_free(void* memory) { std::free(memory); }

}  // extern "C"
