// Whole numbers out of packed weights and int8 inputs. After planes.inl, and wanting besides:
//
//   Sums, dot_quads<kFull>(sums, weights, const quad_word& quad)
//       16 int32 sums += dot products of 16 quads of unsigned bytes (below 128 unless kFull) with
//       one signed quad

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

// One sub-block of one token: its 16 integer sums, offsets included.
template <PackedFormat F, bool kIsAlone>
RUNNEL_INLINE Sums dot_sub(const Bytes* quads, const std::int8_t* q, std::int32_t x_sum) {
  Sums sums = splat_int(-F.offset * x_sum);
  Sums odd = splat_int(0);  // a second chain, for a token alone
  repeat<8 / F.subs()>([&](int j) __attribute__((always_inline)) {
    Sums& chain = kIsAlone && j % 2 == 1 ? odd : sums;
    chain = dot_quads<F.bits == 8>(chain, quads[j], reinterpret_cast<const quad_word*>(q)[j]);
  });
  if constexpr (kIsAlone) {
    RUNNEL_EACH_PART sums.part[i] += odd.part[i];
  }
  return sums;
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

// T tokens' sums for the 16 rows from `row`.
template <int T>
RUNNEL_INLINE void store_sums(const Matmul& m, std::int64_t row, int token, Vec* acc) {
  const int n = static_cast<int>(m.w.rows - row < kGroupRows ? m.w.rows - row : kGroupRows);
  for (int t = 0; t < T; ++t) {
    if (m.bias != nullptr) acc[t] = acc[t] + load_some(m.bias + row, n);
    store_first(m.y + (token + t) * m.y_stride + row, acc[t], n);
  }
}
