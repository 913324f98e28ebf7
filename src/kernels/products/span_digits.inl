// Weights in spans (spans.h) as the matrix unit takes them: whole numbers of two digits. After
// spans.inl.
//
//   W = 256 * high + low, low without a sign; or, of numbers of 4 bits without minimums,
//   W = 16 * high + low, for which half of the instructions do
//
// Where a digit of 64 columns lies in a tile of its own, its chunks fill a half each.

// W of a quad of 16 rows: of its bytes 0 and 2, and of 1 and 3; in 16 bits.
struct EvenAndOdd {
  __m512i even;
  __m512i odd;
};

// W = q * m - n, a number of 16 bits twice in each lane.
RUNNEL_INLINE EvenAndOdd multiply_wide(__m512i q, __m512i m, __m512i n) {
  return {_mm512_sub_epi16(_mm512_mullo_epi16(_mm512_and_si512(q, _mm512_set1_epi16(0xff)), m), n),
          _mm512_sub_epi16(_mm512_mullo_epi16(_mm512_srli_epi16(q, 8), m), n)};
}
// W = s * (q - offset), of s without minimums: `low` has s in bytes 0 and 2 of its lane and zeros
// beside it, `high` in 1 and 3. Products of bytes with their neighbour's zero.
template <PackedFormat F>
RUNNEL_INLINE EvenAndOdd multiply_bytes(__m512i q, __m512i low, __m512i high, __m512i n) {
  if constexpr (is_unsigned(F)) {
    q = _mm512_sub_epi8(q, _mm512_set1_epi8(static_cast<char>(F.offset)));
    return {_mm512_maddubs_epi16(low, q), _mm512_maddubs_epi16(high, q)};
  }
  return {_mm512_sub_epi16(_mm512_maddubs_epi16(q, low), n),
          _mm512_sub_epi16(_mm512_maddubs_epi16(q, high), n)};
}

// The digits of a quad apart.
RUNNEL_INLINE void put_digits(const EvenAndOdd& w, std::byte* high, std::byte* low) {
  const __m512i low_bytes = _mm512_set1_epi16(0xff);
  // a ? b : c by bits
  const auto choose = [](__m512i a, __m512i b, __m512i c) __attribute__((always_inline)) {
    return _mm512_ternarylogic_epi32(a, b, c, 0xca);
  };
  _mm512_store_si512(low, choose(low_bytes, w.even, _mm512_slli_epi16(w.odd, 8)));
  _mm512_store_si512(high, choose(low_bytes, _mm512_srli_epi16(w.even, 8), w.odd));
}

// A number for each row, twice in its lane.
RUNNEL_INLINE __m512i twice(Sums s) {
  const auto low = (__m512i)s.part[0];
  return _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(low, 16));
}

// How digits stand for W.
enum class Digits { kBytes, kNibbles };
constexpr Digits digits_of(const PackedFormat& format) {
  const bool is_small = format.bits == 4 && !format.has_minimums && !is_unsigned(format);
  return is_small ? Digits::kNibbles : Digits::kBytes;
}

// Sums of products with both digits, together.
template <Digits kDigits>
RUNNEL_INLINE Sums whole_of(__m512i high, __m512i low) {
  constexpr int kBits = kDigits == Digits::kNibbles ? 4 : 8;
  return {(native_int)_mm512_add_epi32(_mm512_slli_epi32(high, kBits), low)};
}
// Tile c += a * the low digits b. Tiles are numbers in the instructions.
#define RUNNEL_MULTIPLY_LOW(c, a, b)           \
  if constexpr (kDigits == Digits::kNibbles) { \
    _tile_dpbssd(c, a, b);                     \
  } else {                                     \
    _tile_dpbsud(c, a, b);                     \
  }

// A chunk of W = s * (q - offset) to nibbles' digits: those of s times q - offset, which fit bytes.
// Where s is negative, -s * (15 - q - (15 - offset)). Two q are multiplied at a time.
template <PackedFormat F>
RUNNEL_INLINE void put_nibbles(const std::byte* chunk, std::byte* high, std::byte* low) {
  const auto* list = reinterpret_cast<const __m128i*>(chunk + 64 * F.bits);
  const __m512i first_byte = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
  const __m512i s = _mm512_shuffle_epi8(_mm512_cvtepi8_epi32(_mm_loadu_si128(list)), first_byte);
  const __m512i sign = _mm512_srai_epi16(s, 15);
  const __m512i size = _mm512_abs_epi8(s);
  const __m512i size_high = _mm512_srli_epi16(size, 4);
  const __m512i nibbles = _mm512_set1_epi8(15);
  const __m512i nibble = _mm512_set1_epi16(15);
  const __m512i offset = _mm512_add_epi16(sign, _mm512_set1_epi16(F.offset));
  const __m512i s_low = _mm512_and_si512(size, nibble);
  const __m512i s_high = _mm512_and_si512(size_high, nibble);
  const __m512i n_low = _mm512_mullo_epi16(_mm512_and_si512(size, nibbles), offset);
  const __m512i n_high = _mm512_mullo_epi16(_mm512_and_si512(size_high, nibbles), offset);
  repeat<8>([&](int j) __attribute__((always_inline)) {
    __m512i q = _mm512_loadu_si512(chunk + j % 4 * 64);
    if (j >= 4) q = _mm512_srli_epi16(q, 4);
    q = _mm512_ternarylogic_epi32(q, nibbles, sign, 0x48);  // (q ^ sign) & nibbles
    _mm512_store_si512(low + j * 64, _mm512_sub_epi8(_mm512_mullo_epi16(q, s_low), n_low));
    _mm512_store_si512(high + j * 64, _mm512_sub_epi8(_mm512_mullo_epi16(q, s_high), n_high));
  });
}

// A chunk to bytes' digits; `group` is where its span begins.
template <PackedFormat F>
RUNNEL_INLINE void put_bytes(const std::byte* group, const std::byte* chunk, std::byte* high,
                             std::byte* low) {
  const __m512i offset = _mm512_set1_epi16(F.offset);
  __m512i g = offset;  // both only where the span has them
  __m512i k = offset;
  if constexpr (has_factors(F)) {
    const std::byte* heads = group + sizeof(float) * kGroupRows;
    g = twice(widen_int16(heads));
    k = twice(widen_int16(heads + 2 * kGroupRows));
  }
  Bytes quads[8];
  load_weights<F>(chunk, quads);
  const std::byte* lists = chunk + 64 * F.bits;
  repeat<F.subs()>([&](int sub) __attribute__((always_inline)) {
    __m512i m = twice(scales_of<F>(lists, sub));
    const __m512i low_scale = _mm512_and_si512(m, _mm512_set1_epi16(0xff));
    const __m512i high_scale = _mm512_slli_epi16(m, 8);
    __m512i n = _mm512_mullo_epi16(m, offset);
    if constexpr (F.has_minimums) n = twice(minimums_of<F>(lists, sub));
    if constexpr (has_factors(F)) {
      m = _mm512_mullo_epi16(m, g);
      n = _mm512_mullo_epi16(n, k);
    }
    repeat<8 / F.subs()>([&](int i) __attribute__((always_inline)) {
      const int j = sub * 8 / F.subs() + i;
      const auto q = (__m512i)quads[j].part[0];
      if constexpr (F.has_minimums) {
        put_digits(multiply_wide(q, m, n), high + j * 64, low + j * 64);
      } else {
        put_digits(multiply_bytes<F>(q, low_scale, high_scale, n), high + j * 64, low + j * 64);
      }
    });
  });
}

// Chunk c of n of the span that begins at `group`; zeros behind the last one.
template <PackedFormat F>
RUNNEL_INLINE void put_chunk(const std::byte* group, int c, int n_chunks, std::byte* high,
                             std::byte* low) {
  const std::byte* const chunk =
      group + span_head_bytes(F) + static_cast<std::size_t>(c) * in_spans(F).chunk_bytes();
  if (c == n_chunks) {
    __builtin_memset(high, 0, kTileBytes / 2);
    __builtin_memset(low, 0, kTileBytes / 2);
  } else if constexpr (digits_of(F) == Digits::kNibbles) {
    put_nibbles<F>(chunk, high, low);
  } else {
    put_bytes<F>(group, chunk, high, low);
  }
}

// Steps of which one of n tokens has high digits.
RUNNEL_INLINE unsigned steps_of(const std::uint32_t* steps, int n) {
  const auto tokens = static_cast<__mmask16>((1u << n) - 1);
  return static_cast<unsigned>(_mm512_reduce_or_epi32(_mm512_maskz_loadu_epi32(tokens, steps)));
}
