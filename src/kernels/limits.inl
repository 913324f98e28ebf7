// The machine's limits, measured with the same instructions that the kernels use.

template <typename Step>
static std::int64_t run_chains(std::int64_t rounds, std::int64_t per_step, Step step) {
  constexpr int kChains = 12;  // enough to hide the latency of any instruction timed here
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (int chain = 0; chain < kChains; ++chain) step(chain);
  }
  return rounds * kChains * per_step;
}

static std::int64_t float_peak(std::int64_t rounds, float* sink) {
  Vec acc[12];
  for (int i = 0; i < 12; ++i) acc[i] = splat(static_cast<float>(i));
  const Vec a = splat(*sink);
  const std::int64_t n = run_chains(
      rounds,
      kTile, [&](int i) __attribute__((always_inline)) { acc[i] = multiply_add(acc[i], a, a); });
  for (int i = 0; i < 12; ++i) *sink += sum_lanes(acc[i]);
  return n;
}

static std::int64_t read_all(const std::byte* data, std::int64_t n) {
  Sums sums[4] = {};
  for (std::int64_t i = 0; i < n; i += 256) {
    for (int j = 0; j < 4; ++j) {
      Sums words;
      __builtin_memcpy(&words, data + i + 64 * j, sizeof(words));
      for (int part = 0; part < kTile / kLanes; ++part) sums[j].part[part] += words.part[part];
    }
  }
  std::int64_t total = 0;
  for (int j = 0; j < 4; ++j) total += sums[j].part[0][0];
  return total;
}
