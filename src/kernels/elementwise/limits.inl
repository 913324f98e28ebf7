// The machine's limits, measured with the same instructions that the kernels use.

// A number of its own in every lane of every chain: equal sums would be taken once.
RUNNEL_INLINE Vec start_of_chain(int i) {
  return lane_numbers() + splat(static_cast<float>(i * kTile));
}

// Sums that do not wait for each other: enough to hide the latency of any instruction timed here.
constexpr int kChains = 12;
constexpr int kFloatChains = kParts == 1 ? 12 : 7;  // as registers hold
#define RUNNEL_EACH_CHAIN(kN) _Pragma("GCC unroll 12") for (int i = 0; i < kN; ++i)

template <int kN, typename Step>
static std::int64_t run_chains(std::int64_t rounds, std::int64_t per_step, Step step) {
  for (std::int64_t round = 0; round < rounds; ++round) {
    RUNNEL_EACH_CHAIN(kN) { step(i); }
  }
  return rounds * kN * per_step;
}

static std::int64_t float_peak(std::int64_t rounds, float* sink) {
  Vec acc[kFloatChains];
  RUNNEL_EACH_CHAIN(kFloatChains) { acc[i] = start_of_chain(i); }
  const Vec a = splat(*sink);
  const std::int64_t n = run_chains<kFloatChains>(
      rounds,
      kTile, [&](int i) __attribute__((always_inline)) { acc[i] = multiply_add(acc[i], a, a); });
  RUNNEL_EACH_CHAIN(kFloatChains) { *sink += sum_lanes(acc[i]); }
  return n;
}

static std::int64_t read_all(const std::byte* data, std::int64_t n) {
  constexpr int kVectors = 256 / sizeof(native_int);
  native_int sums[kVectors] = {};
  for (; n > 0; n -= 256, data += 256) {
    for (int i = 0; i < kVectors; ++i) {
      native_int words;
      __builtin_memcpy(&words, data + i * sizeof(words), sizeof(words));
      sums[i] += words;
    }
  }
  std::int64_t total = 0;
  for (const native_int& sum : sums) total += sum[0];
  return total;
}
