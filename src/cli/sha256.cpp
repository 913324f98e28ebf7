#include "cli/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "runnel/error.h"

namespace runnel::cli {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
struct FreeDigest {
  void operator()(EVP_MD_CTX* digest) const { EVP_MD_CTX_free(digest); }
};

void expect(int outcome) {
  if (outcome != 1) throw Error("SHA-256: the library for it failed");
}

}  // namespace

std::string sha256_of(const std::filesystem::path& file,
                      const std::function<void(std::uint64_t)>& progress) {
  const std::unique_ptr<std::FILE, CloseFile> input(std::fopen(file.c_str(), "rbe"));
  if (!input) throw Error(fmt::format("{}: cannot open: {}", file.string(), std::strerror(errno)));
  const std::unique_ptr<EVP_MD_CTX, FreeDigest> digest(EVP_MD_CTX_new());
  expect(EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr));
  std::vector<unsigned char> block(kBlockBytes);
  std::uint64_t n_done = 0;
  while (const std::size_t n = std::fread(block.data(), 1, block.size(), input.get())) {
    expect(EVP_DigestUpdate(digest.get(), block.data(), n));
    n_done += n;
    if (progress) progress(n_done);
  }
  if (std::ferror(input.get()) != 0)
    throw Error(fmt::format("{}: cannot read: {}", file.string(), std::strerror(errno)));
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int n_bytes = 0;
  expect(EVP_DigestFinal_ex(digest.get(), hash, &n_bytes));
  return fmt::format("{:02x}", fmt::join(hash, hash + n_bytes, ""));
}

}  // namespace runnel::cli
