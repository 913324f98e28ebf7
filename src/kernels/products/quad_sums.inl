// Whole numbers out of packed weights and int8 inputs. After planes.inl, and wanting besides:
//
//   Sums, add_quads<kLargest, kN, T>(sums, weights, inputs)
//       16 int32 sums of each of T tokens += dot products of 16 quads of unsigned bytes, up to
//       kLargest, with one quad of int8 from -127 to 127; kN times, inputs(t) being token t's kN
//   kTakenOffBytes
//       what add_quads takes off each weight where kLargest is 255

RUNNEL_INLINE Sums splat_int(std::int32_t x) {
  Sums s;
  RUNNEL_EACH_PART s.part[i] = native_int{} + x;
  return s;
}
RUNNEL_INLINE Vec to_float(Sums s) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = __builtin_convertvector(s.part[i], native);
  return v;
}

RUNNEL_INLINE Sums bits_of(Vec v) {
  Sums s;
  RUNNEL_EACH_PART s.part[i] = (native_int)v.part[i];
  return s;
}

// The 8 quads of a chunk, codes looked up.
template <PackedFormat F>
RUNNEL_INLINE void load_weights(const std::byte* chunk, Bytes* quads) {
  load_quads<F.bits>(chunk, quads, std::make_index_sequence<8>{});
  if constexpr (F.is_e2m1) {
    repeat<8>([&](int j) __attribute__((always_inline)) { quads[j] = look_up(quads[j]); });
  }
}

// One sub-block of T tokens, inputs(t) and their sums x_sum(t): 16 integer sums of each, offsets
// included.
template <PackedFormat F, int T, typename Inputs, typename InputSum>
RUNNEL_INLINE void dot_sub(const Bytes* quads, Inputs inputs, InputSum x_sum, Sums* sums) {
  constexpr int kOffset = F.offset - (F.bits == 8 ? kTakenOffBytes : 0);
  repeat<T>([&](int t)
                __attribute__((always_inline)) { sums[t] = splat_int(-kOffset * x_sum(t)); });
  add_quads<F.largest(), 8 / F.subs(), T>(sums, quads, inputs);
}

// The scale of numbers whose largest has size `largest`, once they are int8; and its inverse.
struct Int8Scale {
  float value;
  Vec inverse;
};
RUNNEL_INLINE Int8Scale int8_scale(float largest) {
  return {largest / 127.0f, splat(largest > 0 ? 127.0f / largest : 0.0f)};
}
RUNNEL_INLINE Vec sizes(Vec v) { return max(v, splat(0) - v); }
RUNNEL_INLINE Vec round_times(Vec v, Vec factor) {
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  return (v * factor + magic) - magic;
}

// Whole numbers that fit.
RUNNEL_INLINE void store_int8(std::int8_t* out, Vec v) {
  typedef std::int8_t bytes __attribute__((vector_size(kLanes)));
  RUNNEL_EACH_PART {
    const auto narrow =
        __builtin_convertvector(__builtin_convertvector(v.part[i], native_int), bytes);
    __builtin_memcpy(out + i * kLanes, &narrow, sizeof(narrow));
  }
}

// T tokens' sums for the 16 rows from `row`. Written out, or the sums would be kept in memory.
template <int T>
RUNNEL_INLINE void store_sums(const Matmul& m, std::int64_t row, int token, const Vec* acc) {
  const int n = static_cast<int>(m.w.rows - row < kGroupRows ? m.w.rows - row : kGroupRows);
  const Vec bias = m.bias != nullptr ? load_first(m.bias + row, n) : splat(0);
  repeat<T>([&](int t) __attribute__((always_inline)) {
    const Vec sum = m.bias != nullptr ? acc[t] + bias : acc[t];
    store_first(m.y + (token + t) * m.y_stride + row, sum, n);
  });
}
