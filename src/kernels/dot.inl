// Stored numbers, and how products take them.

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

// Products with weights of type W: kWidth numbers at once, in blocks of kRows and kTokens. Many
// tokens share a panel of weights that are numbers of type Panel already.
template <typename W>
struct Dot {
  static constexpr int kWidth = kTile;
  static constexpr int kRows = kRowBlock;
  static constexpr int kTokens = kTokenBlock;
  static constexpr Numbers kNumbers = Numbers::kFloat;
  using Panel = float;
  using Operand = Vec;
  template <typename T>
  RUNNEL_INLINE Vec take(const T* p) {
    return widen16(p);
  }
  RUNNEL_INLINE Vec add(Vec weights, Vec inputs, Vec sum) {
    return multiply_add(weights, inputs, sum);
  }
  RUNNEL_INLINE void put(float* panel, Vec numbers) { store(panel, numbers); }
};
