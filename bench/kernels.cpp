// The kernels of each instruction set that this processor has, on one thread, beside what it could
// do at most:
//
//   bench_kernels [--benchmark_filter=avx512/product/Q4_0]
//
// A result is checked before it is timed. "of_limit" is the part of the memory bandwidth where a
// number is used once or a few times, and of the table's own arithmetic peak where it is used
// often; both limits are measured beside it.
#include "kernels/kernels.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/cache_line.h"
#include "base/large_pages.h"
#include "kernels/pack/dequantize.h"
#include "model/random_weights.h"
#include "support/numbers.h"
#include "support/packed_matrix.h"
#include "support/prepared_inputs.h"

namespace {

using namespace runnel;
using namespace runnel::kernels;

constexpr std::size_t kBeyondCaches = std::size_t{128} << 20;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::vector<float> gaussian(std::int64_t n, unsigned seed) { return test::gaussian(size(n), seed); }

// ---- limits

template <typename Work>
double seconds_of(Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Bytes a second, now: on a machine with neighbours it changes.
double memory_rate() {
  static LargePages pages;
  static std::byte* const data = [] {
    std::byte* const taken = pages.take(kBeyondCaches);
    std::memset(taken, 1, kBeyondCaches);
    return taken;
  }();
  return kBeyondCaches / seconds_of([] {
           benchmark::DoNotOptimize(best_table().read_all(data, std::int64_t{kBeyondCaches}));
         });
}

// Multiply-adds a second, the best of ten.
double peak_rate(const Table& table, Numbers numbers, TensorType type = TensorType::kF32) {
  static std::map<std::tuple<const Table*, Numbers, TensorType>, double> known;
  double& best = known[{&table, numbers, type}];
  if (best > 0) return best;
  for (int i = 0; i < 10; ++i) {
    std::int64_t n = 0;
    float sink = 0.5f;
    const double seconds = seconds_of([&] {
      n = numbers == Numbers::kInt8 ? table.packed_peak(type, 1'000'000, &sink)
                                    : table.peaks[static_cast<int>(numbers)](1'000'000, &sink);
    });
    best = std::max(best, static_cast<double>(n) / seconds);
  }
  return best;
}

// Times run(), and says what it reads and multiplies a second; `limit`: how often a second it could
// run at most.
template <typename Run>
void measure(benchmark::State& state, double bytes, double multiply_adds, double limit, Run run) {
  const double seconds = seconds_of([&] {
    for (auto _ : state) run();
  });
  const double rate = static_cast<double>(state.iterations()) / seconds;
  state.counters["GB/s"] = bytes * rate / 1e9;
  state.counters["G_pairs/s"] = multiply_adds * rate / 1e9;
  state.counters["of_limit"] = rate / limit;
}

// ---- products

// Random weights times the inputs of a few tokens.
class Product {
 public:
  static constexpr std::int64_t kCols = 2048;

  Product(const Table& table, TensorType type, std::int64_t rows, int n_tokens)
      : table_(table),
        x_(gaussian(n_tokens * kCols, 1)),
        y_(size(n_tokens * rows)),
        inputs_(table, x_.data(), n_tokens, kCols),
        scratch_(cache_lines(matmul_scratch_bytes(kCols))) {
    std::byte* const stored = pages_.take(bytes_of(type, rows * kCols));
    WeightRandom random(2);
    random_weights(type, 0.02f, random, stored, rows * kCols);
    matmul_ = {.w = {type, rows, kCols, stored},
               .x = x_.data(),
               .x_stride = kCols,
               .n_tokens = n_tokens,
               .y = y_.data(),
               .y_stride = rows};
    weight_bytes_ = bytes_of(type, rows * kCols);
    if (const std::size_t n = test::packed_bytes(table, matmul_.w); n > 0) {
      test::pack_into(table, matmul_.w, pages_.take(n));
      weight_bytes_ = n;
    }
    matmul_.inputs = inputs_.data();
  }

  void run() { table_.matmul(matmul_, 0, matmul_.w.rows, scratch_.front().bytes); }

  // Of the first rows, for the last token.
  double error() const {
    constexpr std::int64_t kRows = 64;
    std::vector<float> weights(size(kRows * kCols));
    dequantize_row(matmul_.w.type, matmul_.w.data, weights.data(), kRows * kCols);
    const float* x = &x_[size((matmul_.n_tokens - 1) * kCols)];
    std::vector<float> want;
    for (std::int64_t row = 0; row < kRows; ++row) {
      double sum = 0;
      for (std::int64_t k = 0; k < kCols; ++k)
        sum += static_cast<double>(weights[size(row * kCols + k)]) * static_cast<double>(x[k]);
      want.push_back(static_cast<float>(sum));
    }
    return test::relative_error({&y_[size((matmul_.n_tokens - 1) * matmul_.w.rows)], want.size()},
                                want);
  }

  double weight_bytes() const { return static_cast<double>(weight_bytes_); }
  double multiply_adds() const {
    return static_cast<double>(matmul_.w.rows * kCols) * matmul_.n_tokens;
  }
  Numbers numbers() const { return table_.numbers(matmul_.w); }

 private:
  const Table& table_;
  LargePages pages_;
  std::vector<float> x_;
  std::vector<float> y_;
  test::PreparedInputs inputs_;
  std::vector<CacheLine> scratch_;
  Matmul matmul_;
  std::size_t weight_bytes_ = 0;
};

// By weights in memory ("far"), or in cache.
void time_product(benchmark::State& state, const Table& table, TensorType type, int n_tokens,
                  bool is_far) {
  const auto row_bytes = static_cast<std::int64_t>(bytes_of(type, Product::kCols));
  const std::int64_t rows =
      is_far ? std::int64_t{kBeyondCaches} / row_bytes / kGroupRows * kGroupRows : 2048;
  Product product(table, type, rows, n_tokens);
  product.run();
  if (const double error = product.error(); !(error < 0.02))
    return state.SkipWithError(fmt::format("wrong by {:.1f} %", 100 * error).c_str());
  const double multiplied = peak_rate(table, product.numbers(), type) / product.multiply_adds();
  const double limit =
      is_far ? std::min(multiplied, memory_rate() / product.weight_bytes()) : multiplied;
  measure(state, product.weight_bytes(), product.multiply_adds(), limit, [&] { product.run(); });
}

// ---- attention

// Query heads that share a head of the cache, past the window; many heads, so that each is cold.
class Heads {
 public:
  static constexpr int kHeadDim = 128;
  static constexpr int kSinks = 4;
  static constexpr std::int64_t kWindow = 2043;
  static constexpr std::int64_t kTiles = 130;  // of the ring
  static constexpr std::int64_t kPosition = 10'000;
  static constexpr std::int64_t kKeys = kSinks + kWindow + 1;

  Heads(KvFormat format, int n_rows) : format_(format), queries_(gaussian(n_rows * kHeadDim, 3)) {
    out_.resize(queries_.size());
    for (int r = 0; r < n_rows; ++r) {
      const std::size_t at = size(r * kHeadDim);
      rows_.push_back({.query = &queries_[at],
                       .sink_query = &queries_[at],
                       .out = &out_[at],
                       .position = kPosition,
                       .cache_position = kKeys - 1,
                       .sink_logit = -std::numeric_limits<float>::infinity()});
    }
    const std::size_t n_heads = kBeyondCaches / static_cast<std::size_t>(bytes()) + 1;
    for (std::size_t i = 0; i < n_heads; ++i) {
      sinks_.push_back(area(1));
      rings_.push_back(area(kTiles));
      i == 0 ? fill(sinks_[0]) : copy(sinks_[0], sinks_[i]);
      i == 0 ? fill(rings_[0]) : copy(rings_[0], rings_[i]);
    }
  }

  void run(const Table& table, std::size_t head) {
    scratch_.resize(table.attention_scratch_bytes(kHeadDim) / sizeof(CacheLine) + 1);
    const Attention attention = {.head_dim = kHeadDim,
                                 .sinks = sinks_[head],
                                 .ring = rings_[head],
                                 .n_sinks = kSinks,
                                 .window = kWindow,
                                 .sink_reach = std::int64_t{1} << 60,
                                 .first = kSinks,
                                 .oldest_tile = (kPosition - kWindow) / kTile,
                                 .newest_tile = kPosition / kTile,
                                 .scale = 0.08f};
    table.attend(attention, rows_.data(), static_cast<int>(rows_.size()), scratch_.front().bytes);
  }

  std::size_t n_heads() const { return rings_.size(); }
  std::span<const float> out() const { return out_; }
  double bytes() const {  // of a head's keys and values
    return 2.0 * static_cast<double>(element_bytes() * size(kKeys * kHeadDim)) * scale_share();
  }
  double multiply_adds() const {
    return 2.0 * static_cast<double>(kKeys * kHeadDim) * static_cast<double>(rows_.size());
  }
  Numbers numbers(const Table& table) const {
    return format_ == KvFormat::kF32 ? Numbers::kFloat : table.attention_numbers;
  }

 private:
  std::size_t element_bytes() const {
    return format_ == KvFormat::kF32 ? 4 : format_ == KvFormat::kQ8_0 ? 1 : 2;
  }
  double scale_share() const { return format_ == KvFormat::kQ8_0 ? 34.0 / 32.0 : 1; }
  std::size_t n_elements(const KvArea& a) const { return size(a.n_tiles * kTile * kHeadDim); }

  KvArea area(std::int64_t n_tiles) {
    KvArea a = {.n_tiles = n_tiles, .format = format_};
    const std::size_t n = n_elements(a);
    a.keys = pages_.take(n * element_bytes());
    a.values = pages_.take(n * element_bytes());
    a.key_scales = reinterpret_cast<std::uint16_t*>(pages_.take(n / 16));
    a.value_scales = reinterpret_cast<std::uint16_t*>(pages_.take(n / 16));
    return a;
  }
  void fill(const KvArea& a) const {
    for (std::int64_t slot = 0; slot < a.n_tiles * kTile; ++slot) {
      const auto key = gaussian(kHeadDim, static_cast<unsigned>(2 * slot));
      const auto value = gaussian(kHeadDim, static_cast<unsigned>(2 * slot + 1));
      store_kv(a, kHeadDim, slot, key.data(), value.data());
    }
  }
  void copy(const KvArea& from, const KvArea& to) const {
    const std::size_t n = n_elements(from);
    std::memcpy(to.keys, from.keys, n * element_bytes());
    std::memcpy(to.values, from.values, n * element_bytes());
    std::memcpy(to.key_scales, from.key_scales, n / 16);
    std::memcpy(to.value_scales, from.value_scales, n / 16);
  }

  KvFormat format_;
  std::vector<float> queries_;
  std::vector<float> out_;
  std::vector<QueryRow> rows_;
  LargePages pages_;
  std::vector<KvArea> sinks_;
  std::vector<KvArea> rings_;
  std::vector<CacheLine> scratch_;
};

void time_attention(benchmark::State& state, const Table& table, KvFormat format, int n_rows) {
  Heads heads(format, n_rows);
  heads.run(*attainable_tables().items[0], 0);
  const std::vector<float> plain(heads.out().begin(), heads.out().end());
  heads.run(table, 0);
  if (const double error = test::relative_error(heads.out(), plain); !(error < 0.02))
    return state.SkipWithError(fmt::format("wrong by {:.1f} %", 100 * error).c_str());
  const double limit = n_rows <= 8 ? memory_rate() / heads.bytes()
                                   : peak_rate(table, heads.numbers(table)) / heads.multiply_adds();
  std::size_t head = 0;
  measure(state, heads.bytes(), heads.multiply_adds(), limit,
          [&] { heads.run(table, head++ % heads.n_heads()); });
}

// ---- what is neither

void time_rms_norm(benchmark::State& state, const Table& table) {
  constexpr int kN = 4096;
  const std::vector<float> x = gaussian(kN, 4);
  std::vector<float> y(kN);
  for (auto _ : state) table.rms_norm(x.data(), x.data(), 1e-5f, y.data(), kN);
  state.SetItemsProcessed(state.iterations() * kN);
}
void time_silu(benchmark::State& state, const Table& table) {
  constexpr int kN = 4096;
  const std::vector<float> x = gaussian(kN, 5);
  std::vector<float> y(kN);
  for (auto _ : state) table.silu(x.data(), x.data(), y.data(), kN);
  state.SetItemsProcessed(state.iterations() * kN);
}

// ---- all of them

template <typename F, typename... Arguments>
void add(const std::string& name, F f, const Table& table, Arguments... arguments) {
  benchmark::RegisterBenchmark(
      fmt::format("{}/{}", table.name, name).c_str(),
      [=, &table](benchmark::State& state) { f(state, table, arguments...); })
      ->Repetitions(5)
      ->ReportAggregatesOnly()
      ->Unit(benchmark::kMicrosecond)
      ->MinTime(0.1);
}

void add_all(const Table& table) {
  constexpr TensorType kTypes[] = {
      TensorType::kF32,  TensorType::kF16,  TensorType::kBF16, TensorType::kQ8_0, TensorType::kQ4_0,
      TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ2_K, TensorType::kQ3_K,
      TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K, TensorType::kMXFP4};
  for (const TensorType type : kTypes) {
    const auto add_product = [&](int n_tokens, bool is_far, const char* suffix) {
      add(fmt::format("product/{}/{}{}", traits(type).name, n_tokens, suffix), time_product, table,
          type, n_tokens, is_far);
    };
    add_product(1, true, "");
    for (const int n_tokens : {2, 4, 16}) add_product(n_tokens, true, "/far");
    for (const int n_tokens : {16, 512}) add_product(n_tokens, false, "");
  }
  constexpr std::pair<KvFormat, const char*> kFormats[] = {{KvFormat::kF32, "f32"},
                                                           {KvFormat::kF16, "f16"},
                                                           {KvFormat::kBF16, "bf16"},
                                                           {KvFormat::kQ8_0, "q8_0"}};
  for (const auto& [format, name] : kFormats) {
    for (const int n_rows : {1, 8, 32})
      add(fmt::format("attention/{}/{}", name, n_rows), time_attention, table, format, n_rows);
  }
  add("rms_norm", time_rms_norm, table);
  add("silu", time_silu, table);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Table* table : attainable_tables()) add_all(*table);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
