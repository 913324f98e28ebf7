// Stored numbers, and how products and attention take them.

struct Half {
  std::uint16_t bits;
};
struct Bfloat {
  std::uint16_t bits;
};
RUNNEL_INLINE Vec widen16(const std::int8_t* p) { return load_int16x8(p); }
RUNNEL_INLINE Vec widen16(const float* p) { return load(p); }
RUNNEL_INLINE Vec widen16(const Half* p) { return load_half16(&p->bits); }
RUNNEL_INLINE Vec widen16(const Bfloat* p) { return load_bfloat16(&p->bits); }
template <typename W>
RUNNEL_INLINE Vec widen_some(const W* p, int n) {  // the first n; the other lanes are 0
  return with_zeros<kTile>(p, n, [](const W* some) { return widen16(some); });
}
