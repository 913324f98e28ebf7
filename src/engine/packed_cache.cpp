#include "engine/packed_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <system_error>
#include <vector>

#include "engine/replaced_file.h"
#include "kernels/kernels.h"
#include "runnel/error.h"

namespace runnel {
namespace {

constexpr std::size_t kHeadBytes = 4096;                    // a page, so that weights begin at one
constexpr std::size_t kHashedBytes = std::size_t{4} << 20;  // of a block

std::size_t round_up(std::size_t n) { return (n + 63) / 64 * 64; }
std::size_t bytes_of_all(std::span<const PackedMatrix> matrices) {
  std::size_t n = 0;
  for (const PackedMatrix& m : matrices) n += round_up(m.n_bytes);
  return n;
}
std::size_t n_blocks(std::size_t n_bytes) { return (n_bytes + kHashedBytes - 1) / kHashedBytes; }

std::string file_name(const Fingerprint& fingerprint) {
  std::string name;
  for (const std::byte b : fingerprint) name += fmt::format("{:02x}", static_cast<unsigned>(b));
  return fmt::format("{}-{}.packed", name, kernels::best_table().name);
}

// Whether the first rows, packed now, are those that lie at `packed`.
bool begins_so(const Matrix& matrix, const std::byte* packed) {
  const kernels::Table& table = kernels::best_table();
  std::vector<std::byte> group(table.packed_bytes(matrix.type, matrix.cols));
  table.pack(matrix.type, matrix.data, matrix.rows, matrix.cols, 0, group.data());
  return std::memcmp(group.data(), packed, group.size()) == 0;
}

std::vector<XXH64_hash_t> hashes_of(std::span<const std::byte> bytes, ThreadPool& threads) {
  std::vector<XXH64_hash_t> hashes(n_blocks(bytes.size()));
  threads.run(static_cast<int>(hashes.size()), [&](int i, int) {
    const std::size_t first = static_cast<std::size_t>(i) * kHashedBytes;
    const std::span<const std::byte> block =
        bytes.subspan(first, std::min(kHashedBytes, bytes.size() - first));
    hashes[static_cast<std::size_t>(i)] = XXH3_64bits(block.data(), block.size());
  });
  return hashes;
}

}  // namespace

// File:  header, zeros up to a page | packed matrices, each at a multiple of 64 | a hash of each
// block
struct PackedCache::Header {
  char magic[8];
  Fingerprint model;
  std::int64_t changed;
  char table[16];
  std::uint64_t n_bytes;

  std::size_t file_bytes() const {
    return kHeadBytes + n_bytes + n_blocks(n_bytes) * sizeof(XXH64_hash_t);
  }
};

PackedCache::PackedCache(const std::filesystem::path& folder, const gguf::File& file,
                         const Fingerprint& fingerprint)
    : path_(folder / file_name(fingerprint)), fingerprint_(fingerprint), changed_(file.changed()) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!std::filesystem::is_directory(folder))
    throw Error(
        fmt::format("{}: want a folder for packed weights, found none and cannot make one: {}",
                    folder.string(), error.message()));
}

PackedCache::~PackedCache() { unmap(); }

void PackedCache::unmap() {
  if (data_ != nullptr) ::munmap(data_, n_mapped_);
  data_ = nullptr;
}

PackedCache::Header PackedCache::header_of(std::size_t n_bytes) const {
  Header header = {.magic = {'p', 'a', 'c', 'k', 'e', 'd', '\0', '\1'},
                   .model = fingerprint_,
                   .changed = changed_,
                   .table = {},
                   .n_bytes = n_bytes};
  std::strncpy(header.table, kernels::best_table().name, sizeof(header.table) - 1);
  return header;
}

bool PackedCache::map_checked(std::size_t n_bytes, ThreadPool& threads) {
  const Header wanted = header_of(n_bytes);
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  struct stat status {};
  const bool fits = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                    static_cast<std::size_t>(status.st_size) == wanted.file_bytes();
  void* const data =
      fits ? ::mmap(nullptr, wanted.file_bytes(), PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0)
           : MAP_FAILED;
  ::close(fd);
  if (data == MAP_FAILED) return false;
  data_ = static_cast<std::byte*>(data);
  n_mapped_ = wanted.file_bytes();
  if (std::memcmp(data_, &wanted, sizeof(wanted)) != 0) return false;
  const std::vector<XXH64_hash_t> hashes =
      hashes_of(mapped().subspan(kHeadBytes, n_bytes), threads);
  return std::memcmp(hashes.data(), data_ + kHeadBytes + n_bytes,
                     hashes.size() * sizeof(XXH64_hash_t)) == 0;
}

bool PackedCache::give(Weights& weights, ThreadPool& threads) {
  const std::vector<PackedMatrix> matrices = packed_matrices(weights);
  const std::size_t n_bytes = bytes_of_all(matrices);
  if (n_bytes == 0) return false;
  bool is_good = map_checked(n_bytes, threads);
  std::vector<const std::byte*> places;
  for (std::size_t at = kHeadBytes; const PackedMatrix& m : matrices) {
    places.push_back(data_ + at);
    at += round_up(m.n_bytes);
  }
  std::atomic<bool> are_same = true;
  if (is_good) {
    threads.run(static_cast<int>(matrices.size()), [&](int i, int) {
      const auto index = static_cast<std::size_t>(i);
      if (!begins_so(*matrices[index].matrix, places[index])) are_same = false;
    });
  }
  if (!is_good || !are_same) {
    unmap();
    return false;
  }
  for (std::size_t i = 0; i < matrices.size(); ++i)
    use_packed(*matrices[i].matrix, places[i], weights);
  return true;
}

void PackedCache::keep(Weights& weights) const {
  const std::vector<PackedMatrix> matrices = packed_matrices(weights);
  const std::size_t n_bytes = bytes_of_all(matrices);
  if (n_bytes == 0) return;
  const auto text_of = [](const void* data, std::size_t n) {
    return std::string_view(static_cast<const char*>(data), n);
  };
  try {
    ReplacedFile file(path_);
    const Header header = header_of(n_bytes);
    std::string head(kHeadBytes, '\0');
    std::memcpy(head.data(), &header, sizeof(header));
    file.write(head);
    std::vector<std::byte> block;  // what was written since the last hash
    std::vector<XXH64_hash_t> hashes;
    block.reserve(kHashedBytes);
    const auto put = [&](std::span<const std::byte> bytes) {
      file.write(text_of(bytes.data(), bytes.size()));
      while (!bytes.empty()) {
        const std::size_t n = std::min(bytes.size(), kHashedBytes - block.size());
        block.insert(block.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
        bytes = bytes.subspan(n);
        if (block.size() < kHashedBytes) continue;
        hashes.push_back(XXH3_64bits(block.data(), block.size()));
        block.clear();
      }
    };
    constexpr std::byte kZeros[64] = {};
    for (const PackedMatrix& m : matrices) {
      put({m.matrix->packed, m.n_bytes});
      put({kZeros, round_up(m.n_bytes) - m.n_bytes});
    }
    if (!block.empty()) hashes.push_back(XXH3_64bits(block.data(), block.size()));
    file.write(text_of(hashes.data(), hashes.size() * sizeof(XXH64_hash_t)));
    file.commit();
  } catch (const Error&) {  // the next load packs again
  }
}

}  // namespace runnel
