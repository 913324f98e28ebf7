#include "model/read_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <utility>

namespace runnel {
namespace {

constexpr std::size_t kAhead = std::size_t{64} << 20;  // bytes
constexpr std::size_t kPiece = std::size_t{4} << 20;

}  // namespace

void ask_for(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t first = begin / page * page;
  ::madvise(reinterpret_cast<void*>(first), begin + bytes.size() - first, MADV_WILLNEED);
}

ReadAhead::ReadAhead(std::vector<std::span<const std::byte>> parts) {
  if (parts.empty()) return;
  try {
    thread_ = std::jthread([this, parts = std::move(parts)] { ask(parts); });
  } catch (const std::system_error&) {
    // No more threads: pages are read as they are touched.
  }
}

ReadAhead::~ReadAhead() {
  stopping_ = true;
  done(1);
}

void ReadAhead::done(std::size_t n_bytes) {
  n_done_.fetch_add(n_bytes);
  n_done_.notify_one();
}

void ReadAhead::ask(const std::vector<std::span<const std::byte>>& parts) {
  std::size_t n_asked = 0;
  for (std::span<const std::byte> part : parts) {
    while (!part.empty()) {
      for (std::size_t n_done = n_done_; n_asked >= n_done + kAhead; n_done = n_done_) {
        if (stopping_) return;
        n_done_.wait(n_done);
      }
      if (stopping_) return;
      const std::size_t n = std::min(part.size(), kPiece);
      ask_for(part.first(n));
      n_asked += n;
      part = part.subspan(n);
    }
  }
}

}  // namespace runnel
