// A vector of 16 floats on the machine's own vectors.
//
// Wanted from the including file:
//   native, native_int      GCC vectors of kLanes floats / int32
//   load_half(p), load_bfloat(p), load_int8(p)     kLanes elements to floats
//   load_codes<h>(p)        kLanes codes, the lower halves of bytes or (h = 1) the upper ones, to
//                           what kKvCodes says they are, as floats
//   half_value(bits)        one half-precision number
//   exp_native(x)           e^x, relative error below 2e-7; exactly 0 below -87.34
//   multiply_add(a, b, c)   a * b + c of natives, fused where the machine can: said by name, since
//                           what a compiler fuses by itself differs between copies of a function
//   kRegisters              that hold a native
//   kRowBlock, kTokenBlock  register tile of the float matrix product
//   kTokensTogether         the same of a panel, instead of kTokenBlock

constexpr int kParts = kTile / kLanes;

struct Vec {
  native part[kParts];
};

#define RUNNEL_EACH_PART _Pragma("GCC unroll 4") for (int i = 0; i < kParts; ++i)
#define RUNNEL_INLINE static inline __attribute__((always_inline))
#define RUNNEL_MEMBER inline __attribute__((always_inline))

// Asks for the 64 bytes around p, for soon: into the second level of cache, where the machine can
// say so. Any p will do. Inlined with all its callers: g++ drops calls of functions that do no
// more.
RUNNEL_INLINE void fetch(const void* p) { __builtin_prefetch(p, 0, 2); }
// The same for n bytes from p on, every 64 of them.
RUNNEL_INLINE void fetch_bytes(const void* p, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += 64) fetch(static_cast<const char*>(p) + i);
}
// As fetch(), to be written.
RUNNEL_INLINE void fetch_to_write(void* p) { __builtin_prefetch(p, 1, 2); }

RUNNEL_INLINE Vec splat(float x) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = x - native{};  // x + 0 would be an addition, for x may be -0
  return v;
}
// Part by part: a copy of the whole goes through the stack, in pieces smaller than a part.
RUNNEL_INLINE Vec load(const float* p) {
  Vec v;
  RUNNEL_EACH_PART __builtin_memcpy(&v.part[i], p + i * kLanes, sizeof(native));
  return v;
}
RUNNEL_INLINE void store(float* p, Vec v) {
  RUNNEL_EACH_PART __builtin_memcpy(p + i * kLanes, &v.part[i], sizeof(native));
}
RUNNEL_INLINE Vec lane_numbers() {
  static constexpr float kNumbers[kTile] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(kNumbers);
}
// f of kN elements: the first n of p, then zeros.
template <int kN, typename T, typename F>
RUNNEL_INLINE auto with_zeros(const T* p, std::int64_t n, F f) {
  T some[kN] = {};
  for (std::int64_t i = 0; i < n; ++i) some[i] = p[i];
  return f(some);
}
RUNNEL_INLINE Vec load_some(const float* p, int n) {  // the first n lanes; the others are 0
  return with_zeros<kTile>(p, n, [](const float* some) { return load(some); });
}
RUNNEL_INLINE void store_some(float* p, Vec v, int n) {
  float lanes[kTile];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
// The first n lanes, or all.
RUNNEL_INLINE Vec load_first(const float* p, int n) {
  return n == kTile ? load(p) : load_some(p, n);
}
RUNNEL_INLINE void store_first(float* p, Vec v, int n) {
  n == kTile ? store(p, v) : store_some(p, v, n);
}
RUNNEL_INLINE Vec load_half16(const std::uint16_t* p) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = load_half(p + i * kLanes);
  return v;
}
RUNNEL_INLINE Vec load_bfloat16(const std::uint16_t* p) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = load_bfloat(p + i * kLanes);
  return v;
}
RUNNEL_INLINE Vec load_int16x8(const std::int8_t* p) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = load_int8(p + i * kLanes);
  return v;
}
template <int kHalf>
RUNNEL_INLINE Vec load_codes16(const std::uint8_t* p) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = load_codes<kHalf>(p + i * kLanes);
  return v;
}
// 128ths of scales of 8 bits, the upper ones of an f16.
RUNNEL_INLINE Vec load_scales16(const std::uint8_t* p) {
  std::uint16_t halves[kTile];
  for (int i = 0; i < kTile; ++i) halves[i] = static_cast<std::uint16_t>(p[i] << 8);
  Vec v = load_half16(halves);
  RUNNEL_EACH_PART v.part[i] = v.part[i] * 0x1p-7f;
  return v;
}

RUNNEL_INLINE Vec operator+(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] + b.part[i];
  return a;
}
RUNNEL_INLINE Vec operator-(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] - b.part[i];
  return a;
}
RUNNEL_INLINE Vec operator*(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] * b.part[i];
  return a;
}
RUNNEL_INLINE Vec operator/(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] / b.part[i];
  return a;
}
RUNNEL_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
  RUNNEL_EACH_PART c.part[i] = multiply_add(a.part[i], b.part[i], c.part[i]);
  return c;
}
RUNNEL_INLINE Vec max(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return a;
}
RUNNEL_INLINE Vec min(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return a;
}

// Lanes i and i + kHalf change places.
template <int kHalf, typename V>
RUNNEL_INLINE V swap_halves(V v) {
  if constexpr (kHalf == 8) {
    return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  } else if constexpr (sizeof(V) == 64) {
    if constexpr (kHalf == 4)
      return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
    if constexpr (kHalf == 2)
      return __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
    if constexpr (kHalf == 1)
      return __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
  } else if constexpr (sizeof(V) == 32) {
    if constexpr (kHalf == 4) return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    if constexpr (kHalf == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1);
    if constexpr (kHalf == 1) return __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0);
  } else {
    if constexpr (kHalf == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1);
    if constexpr (kHalf == 1) return __builtin_shufflevector(v, v, 1, 0, 3, 2);
  }
}

// All lanes to one number, always by halves: lane 0 with 8, 1 with 9, ..., then 0 with 4, ...
template <typename Combine>
RUNNEL_INLINE float reduce(Vec v, Combine combine) {
  for (int half = kParts / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) v.part[i] = combine(v.part[i], v.part[i + half]);
  }
  native lanes = v.part[0];
  if constexpr (kLanes > 8) lanes = combine(lanes, swap_halves<8>(lanes));
  if constexpr (kLanes > 4) lanes = combine(lanes, swap_halves<4>(lanes));
  lanes = combine(lanes, swap_halves<2>(lanes));
  lanes = combine(lanes, swap_halves<1>(lanes));
  return lanes[0];
}
RUNNEL_INLINE float sum_lanes(Vec v) {
  return reduce(v, [](native a, native b) { return a + b; });
}
RUNNEL_INLINE float max_lane(Vec v) {
  return reduce(v, [](native a, native b) { return a > b ? a : b; });
}

RUNNEL_INLINE Vec exp(Vec x) {
  RUNNEL_EACH_PART x.part[i] = exp_native(x.part[i]);
  return x;
}
RUNNEL_INLINE Vec sigmoid(Vec x) { return splat(1) / (splat(1) + exp(splat(0) - x)); }
RUNNEL_INLINE Vec tanh(Vec x) { return splat(1) - splat(2) / (exp(x + x) + splat(1)); }
