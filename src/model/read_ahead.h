// The disk reads what will be packed next while threads pack: a file that is not in memory costs
// the longer of the two, not both.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

namespace runnel {

// Asks the disk for a part of a mapped file, and waits for nothing.
void ask_for(std::span<const std::byte> bytes);

class ReadAhead {
 public:
  // What will be read, in this order: parts of mapped files. None: nothing to do. A thread of its
  // own asks for them, since asking waits for a disk that has much to do.
  explicit ReadAhead(std::vector<std::span<const std::byte>> parts);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // So many more bytes were read: it goes on to 64 MiB behind them.
  void done(std::size_t n_bytes);

 private:
  void ask(const std::vector<std::span<const std::byte>>& parts);

  std::atomic<std::size_t> n_done_{0};
  std::atomic<bool> stopping_{false};
  std::jthread thread_;
};

}  // namespace runnel
