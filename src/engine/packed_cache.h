// Weights as they were packed, in a file of a folder: mapped by whoever loads the model next, and
// one copy in memory for all processes that do.
//
// The file's name is the model's fingerprint and the table of kernels. What is in it is checked
// before it is used: its length, when the model's file was last changed, hashes of all blocks, and
// the first rows of each matrix, which are packed again. Anything else is a file that is not there:
// the model is packed, and the file written anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "engine/fingerprint.h"
#include "model/weights.h"

namespace runnel {

class PackedCache {
 public:
  // Makes the folder. Error: it cannot be made.
  PackedCache(const std::filesystem::path& folder, const gguf::File& file,
              const Fingerprint& fingerprint);
  PackedCache(const PackedCache&) = delete;
  PackedCache& operator=(const PackedCache&) = delete;
  ~PackedCache();

  // Points the matrices into the mapped file, which this object keeps; false where there is none to
  // trust.
  bool give(Weights& weights, ThreadPool& threads);
  // Writes what was packed instead. A full disk and the like leave no file, which is no error.
  void keep(Weights& weights) const;

  const std::filesystem::path& path() const { return path_; }

 private:
  struct Header;
  Header header_of(std::size_t n_bytes) const;
  std::span<const std::byte> mapped() const { return {data_, n_mapped_}; }
  bool map_checked(std::size_t n_bytes, ThreadPool& threads);
  void unmap();

  std::filesystem::path path_;
  Fingerprint fingerprint_;
  std::int64_t changed_;  // when the model's file was
  std::byte* data_ = nullptr;
  std::size_t n_mapped_ = 0;
};

}  // namespace runnel
