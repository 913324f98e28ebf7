// Pages of a mapped file that lookups of embeddings bring into memory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <vector>

#include "support/decoder_fixture.h"
#include "support/made_models.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

// Whole pages of a matrix that this process has in memory, as Linux tells in /proc/self/pagemap.
std::size_t pages_in_memory(const Matrix& matrix) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(matrix.data);
  const std::uintptr_t end = begin + static_cast<std::size_t>(matrix.rows) * matrix.row_bytes();
  const std::uintptr_t first = (begin + page - 1) / page;
  std::vector<std::uint64_t> entries(end / page - first);
  const std::size_t n_bytes = entries.size() * sizeof(entries[0]);
  const int map = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const ssize_t n_read =
      ::pread(map, entries.data(), n_bytes, static_cast<off_t>(first * sizeof(entries[0])));
  ::close(map);
  EXPECT_EQ(n_read, static_cast<ssize_t>(n_bytes));
  constexpr std::uint64_t kIsPresent = std::uint64_t{1} << 63;
  return static_cast<std::size_t>(std::ranges::count_if(
      entries, [](std::uint64_t entry) { return (entry & kIsPresent) != 0; }));
}

TEST(LookedUp, EmbeddingsLeaveMemoryAgain) {
  test::LoadedDecoder decoder(test::bundled_model());
  decoder.pack();
  const Matrix& table = decoder.weights().embeddings;
  std::vector<Token> tokens(512);
  std::iota(tokens.begin(), tokens.end(), 300);
  KvCache cache = decoder.cache({4, 60}, KvType::kF16, 64);
  const std::vector<float> logits = decoder.all_logits(cache, tokens, 64);
  EXPECT_EQ(pages_in_memory(table), 0U);

  KvCache again = decoder.cache({4, 60}, KvType::kF16, 64);
  EXPECT_EQ(decoder.all_logits(again, std::span(tokens).first(63), 63),
            std::vector<float>(logits.begin(), logits.begin() + 63 * table.rows));
  EXPECT_GT(pages_in_memory(table), 0U) << "63 rows stay, if this test can see pages at all";
}

TEST(LookedUp, ATableThatIsMultipliedTooStays) {
  const test::TempDir folder;
  const std::vector<ModelShape> shapes = test::tiny_shapes();
  const auto tied = std::ranges::find_if(shapes, &ModelShape::is_tied);
  ASSERT_NE(tied, shapes.end());
  const MadeModel made = test::make(*tied);
  std::ofstream(folder / "tied.gguf", std::ios::binary)
      .write(reinterpret_cast<const char*>(made.bytes().data()),
             static_cast<std::streamsize>(made.bytes().size()));
  test::LoadedDecoder decoder(folder / "tied.gguf");
  const Weights& weights = decoder.weights();
  ASSERT_EQ(weights.output.weight.data, weights.embeddings.data);
  ASSERT_EQ(weights.output.weight.packed, nullptr);
  KvCache cache = decoder.cache({4, 60}, KvType::kF16, 64);
  decoder.all_logits(cache, std::vector<Token>(64, 5), 64);
  EXPECT_GT(pages_in_memory(weights.embeddings), 0U);
}

}  // namespace
}  // namespace runnel
