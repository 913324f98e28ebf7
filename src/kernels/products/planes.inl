// Packed weights out of their planes of bits (packed.h), sixteen rows at once. Wanting:
//
//   Bytes, byte_vector, kByteParts   vectors of unsigned 16-bit numbers, as many as fill 64 bytes
//   look_up(codes)   kE2M1[code] in each byte; codes below 16

#define RUNNEL_EACH_BYTE_PART _Pragma("GCC unroll 4") for (int i = 0; i < kByteParts; ++i)

RUNNEL_INLINE Bytes load_bytes(const std::byte* p) {
  Bytes b;
  RUNNEL_EACH_BYTE_PART __builtin_memcpy(&b.part[i], p + i * sizeof(byte_vector),
                                         sizeof(byte_vector));
  return b;
}
// ((b >> right) << left) & mask, in each byte; shifts cross bytes, which the mask undoes.
template <int kRight, int kLeft, int kMask>
RUNNEL_INLINE Bytes shift_mask(Bytes b) {
  constexpr auto kMasks = static_cast<unsigned short>(kMask * 0x101);
  RUNNEL_EACH_BYTE_PART b.part[i] = ((b.part[i] >> kRight) << kLeft) & (byte_vector{} + kMasks);
  return b;
}
RUNNEL_INLINE Bytes operator|(Bytes a, Bytes b) {
  RUNNEL_EACH_BYTE_PART a.part[i] |= b.part[i];
  return a;
}
// Quad J of a chunk's planes, as numbers of kBits bits.
template <int kBits, int J>
RUNNEL_INLINE Bytes quad(const std::byte* planes) {
  if constexpr (kBits == 8) {
    return load_bytes(planes + J * 64);
  } else if constexpr (kBits >= 4) {
    const Bytes low = shift_mask<J / 4 * 4, 0, 15>(load_bytes(planes + J % 4 * 64));
    if constexpr (kBits == 5) {
      constexpr int kLeft = J < 4 ? 4 - J : 0;
      return low | shift_mask<(J < 4 ? 0 : J - 4), kLeft, 16>(load_bytes(planes + 256));
    } else if constexpr (kBits == 6) {
      return low | shift_mask<(J % 4 == 3 ? 2 : 0), (J % 4 == 3 ? 0 : 4 - J % 4 * 2), 48>(
                       load_bytes(planes + 256 + J / 4 * 64));
    } else {
      return low;
    }
  } else {
    const Bytes low = shift_mask<J % 4 * 2, 0, 3>(load_bytes(planes + J / 4 * 64));
    if constexpr (kBits == 3) {
      return low |
             shift_mask<(J > 2 ? J - 2 : 0), (J < 2 ? 2 - J : 0), 4>(load_bytes(planes + 128));
    } else {
      return low;
    }
  }
}

template <int kBits, std::size_t... J>
RUNNEL_INLINE void load_quads(const std::byte* planes, Bytes* quads, std::index_sequence<J...>) {
  ((quads[J] = quad<kBits, static_cast<int>(J)>(planes)), ...);
}

// Calls f with the format of a packed type, a constant: of small blocks, and of the K types.
template <typename F>
RUNNEL_INLINE void with_block_format(TensorType type, F f) {
  switch (type) {
#define RUNNEL_CASE(name)   \
  case TensorType::k##name: \
    return f.template operator()<kPacked##name>();
    RUNNEL_BLOCK_TYPES(RUNNEL_CASE)
    default:
      __builtin_trap();  // pack_group() packs no other
  }
}
template <typename F>
RUNNEL_INLINE void with_k_format(TensorType type, F f) {
  switch (type) {
    RUNNEL_K_TYPES(RUNNEL_CASE)
#undef RUNNEL_CASE
    default:
      __builtin_trap();
  }
}
