// What portable.cpp asks of a machine, for any processor: four stored elements to floats, products
// added, and sums of neighbours.

constexpr int kRegisters = 16;

// Elements to numbers of 32 bits.
template <typename Element>
inline native_int widen4(const Element* p) {
  typedef Element narrow __attribute__((vector_size(4 * sizeof(Element))));
  narrow stored;
  __builtin_memcpy(&stored, p, sizeof(stored));
  return __builtin_convertvector(stored, native_int);
}

inline native load_half(const std::uint16_t* p) {
  const native_int h = widen4(p);
  // Multiplying moves the exponent's bias, and is right for subnormal numbers too.
  const auto magnitude = (native_int)((native)((h & 0x7fff) << 13) * 0x1p112f);
  const native_int not_finite = ((h & 0x7c00) == 0x7c00) & 0x7f800000;
  return (native)(magnitude | not_finite | (h & 0x8000) << 16);
}
inline float half_value(std::uint16_t h) {
  const std::uint16_t four[4] = {h};
  return load_half(four)[0];
}
inline native load_bfloat(const std::uint16_t* p) { return (native)(widen4(p) << 16); }
inline native load_int8(const std::int8_t* p) { return __builtin_convertvector(widen4(p), native); }
template <int kHalf>
inline native load_codes(const std::uint8_t* p) {
  std::int8_t four[4];
  for (int i = 0; i < 4; ++i) four[i] = kKvCodes[kHalf == 1 ? p[i] >> 4 : p[i] & 15];
  return load_int8(four);
}
inline native multiply_add(native a, native b, native c) { return a * b + c; }

// 8 numbers of 16 bits to 4 of 32.
inline native_int add_pairs(Pairs p) {
  const auto both = (native_int)p;
  return (both << 16 >> 16) + (both >> 16);
}
