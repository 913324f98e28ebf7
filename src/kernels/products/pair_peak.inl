// The most that dot products of bfloat16 pairs could do. After limits.inl and dot_tiles.inl.

static std::int64_t bfloat_peak(std::int64_t rounds, float* sink) {
  Vec acc[kChains];
  RUNNEL_EACH_CHAIN(kChains) { acc[i] = start_of_chain(i); }
  const auto a = (__m512i)splat(*sink).part[0];
  const std::int64_t n = run_chains<kChains>(
      rounds,
      2 * kTile, [&](int i) __attribute__((always_inline)) { acc[i] = add_dots(acc[i], a, a); });
  RUNNEL_EACH_CHAIN(kChains) { *sink += sum_lanes(acc[i]); }
  return n;
}
