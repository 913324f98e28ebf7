// The machine's vectors for AVX-512 (F, BW, DQ, VL), as vector.inl, matmul.inl and planes.inl want
// them. Of avx512.cpp and amx.cpp.

constexpr int kLanes = 16;
constexpr int kRowBlock = 4;
constexpr int kTokenBlock = 4;
typedef float native __attribute__((vector_size(64)));
typedef std::int32_t native_int __attribute__((vector_size(64)));
typedef std::uint16_t byte_vector __attribute__((vector_size(64)));
constexpr int kByteParts = 1;

// 64 weights, the quads of 16 rows, and their 16 integer sums.
struct Bytes {
  byte_vector part[kByteParts];
};
struct Sums {
  native_int part[kTile / kLanes];
};

inline float half_value(std::uint16_t h) { return _cvtsh_ss(h); }
inline native load_half(const std::uint16_t* p) {
  return (native)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline native load_bfloat(const std::uint16_t* p) {
  const __m512i wide =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return (native)_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline native load_int8(const std::int8_t* p) {
  return (native)_mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline native multiply_add(native a, native b, native c) {
  return (native)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

inline Bytes look_up(Bytes codes) {
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2M1)));
  codes.part[0] = (byte_vector)_mm512_shuffle_epi8(table, (__m512i)codes.part[0]);
  return codes;
}
