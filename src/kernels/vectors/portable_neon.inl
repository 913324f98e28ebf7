// portable_plain.inl for 64-bit ARM. Its compiler makes scalar code of the conversions there, and
// the machine converts half precision by itself.

constexpr int kRegisters = 32;

inline native load_half(const std::uint16_t* p) {
  return (native)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
inline float half_value(std::uint16_t h) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
inline native load_bfloat(const std::uint16_t* p) {
  return (native)vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
inline native load_int8(const std::int8_t* p) {
  std::uint32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
  return (native)vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}
template <int kHalf>
inline native load_codes(const std::uint8_t* p) {
  std::int8_t four[4];
  for (int i = 0; i < 4; ++i) four[i] = kKvCodes[kHalf == 1 ? p[i] >> 4 : p[i] & 15];
  return load_int8(four);
}
inline native multiply_add(native a, native b, native c) {
  return (native)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

inline native_int add_pairs(Pairs p) { return (native_int)vpaddlq_s16((int16x8_t)p); }
