#include "kernels/pack/packed.h"

#include <array>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/pack/blocks.h"
#include "kernels/pack/codebook_types.h"

namespace runnel::kernels {
namespace {

// One block of one row, its fields apart.
struct Fields {
  std::uint8_t q[kSuperBlock];
  std::int8_t scales[16];
  std::int8_t minimums[16];
  std::uint16_t d;
  std::uint16_t m;
};

// Eight bytes that are changed together.
using Eight = std::uint64_t;
constexpr Eight eight_of(unsigned byte) { return byte * Eight{0x0101010101010101}; }
Eight load_eight(const std::uint8_t* p) {
  Eight bytes;
  std::memcpy(&bytes, p, sizeof(bytes));
  return bytes;
}
void store_eight(std::uint8_t* p, Eight bytes) { std::memcpy(p, &bytes, sizeof(bytes)); }
void add_eight(std::uint8_t* p, Eight bits) { store_eight(p, load_eight(p) | bits); }

// Two bits of each weight of Q2_K and Q3_K, and the high ones of Q6_K's, at `shift` of q.
void add_two_bits(const std::uint8_t* qs, int shift, std::uint8_t* q) {
  for (int half = 0; half < 2; ++half, qs += 32) {
    for (int quarter = 0; quarter < 4; ++quarter, q += 32) {
      for (int i = 0; i < 32; i += 8)
        add_eight(q + i, ((load_eight(qs + i) >> (2 * quarter)) & eight_of(3)) << shift);
    }
  }
}

// One bit of each weight i, bit i / 32 of bits[i % 32], at `shift` of q.
void add_bit(const std::uint8_t* bits, int shift, std::uint8_t* q) {
  for (int part = 0; part < 8; ++part, q += 32) {
    for (int i = 0; i < 32; i += 8)
      add_eight(q + i, ((load_eight(bits + i) >> part) & eight_of(1)) << shift);
  }
}

// Runs of `run` bytes, each of which holds 4 bits of 2 * run weights: the low halves, then the high
// ones.
void put_halves(const std::uint8_t* qs, int run, int n_weights, std::uint8_t* q) {
  for (const std::uint8_t* end = q + n_weights; q != end; q += 2 * run, qs += run) {
    for (int i = 0; i < run; i += 8) {
      store_eight(q + i, load_eight(qs + i) & eight_of(15));
      store_eight(q + run + i, (load_eight(qs + i) >> 4) & eight_of(15));
    }
  }
}

template <typename Block>
void read_small(const std::byte* data, Fields& f) {
  Block b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  if constexpr (requires { b.m; }) f.m = b.m;
  put_halves(b.qs, 16, kSmallBlock, f.q);
  if constexpr (requires { b.qh; }) {
    for (int i = 0; i < kSmallBlock; ++i)
      f.q[i] |= static_cast<std::uint8_t>(((b.qh[i / 8] >> (i % 8)) & 1) << 4);
  }
}

void read_q8_0(const std::byte* data, Fields& f) {
  BlockQ8_0 b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  const auto* qs = reinterpret_cast<const std::uint8_t*>(b.qs);
  for (int i = 0; i < kSmallBlock; i += 8) store_eight(f.q + i, load_eight(qs + i) ^ eight_of(128));
}

void read_mxfp4(const std::byte* data, Fields& f) {
  BlockMXFP4 b;
  std::memcpy(&b, data, sizeof(b));
  f.d = static_cast<std::uint16_t>(b.e >= 2 ? (b.e - 1) << 7
                                            : 0x20 << b.e);  // 2^(e - 128) as a bfloat16
  put_halves(b.qs, 16, kSmallBlock, f.q);
}

void read_q2_k(const std::byte* data, Fields& f) {
  BlockQ2_K b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  f.m = b.dmin;
  for (int j = 0; j < 16; ++j) {
    f.scales[j] = static_cast<std::int8_t>(b.scales[j] & 15);
    f.minimums[j] = static_cast<std::int8_t>(b.scales[j] >> 4);
  }
  std::memset(f.q, 0, sizeof(f.q));
  add_two_bits(b.qs, 0, f.q);
}

void read_q3_k(const std::byte* data, Fields& f) {
  BlockQ3_K b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  for (int j = 0; j < 16; ++j) f.scales[j] = static_cast<std::int8_t>(scale_q3(b.scales, j) - 32);
  std::memset(f.q, 0, sizeof(f.q));
  add_two_bits(b.qs, 0, f.q);
  add_bit(b.hmask, 2, f.q);
}

template <typename Block>
void read_q45_k(const std::byte* data, Fields& f) {
  Block b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  f.m = b.dmin;
  for (int j = 0; j < 8; ++j) {
    f.scales[j] = static_cast<std::int8_t>(scale_q4(b.scales, j));
    f.minimums[j] = static_cast<std::int8_t>(minimum_q4(b.scales, j));
  }
  put_halves(b.qs, 32, kSuperBlock, f.q);
  if constexpr (requires { b.qh; }) add_bit(b.qh, 4, f.q);
}

void read_q6_k(const std::byte* data, Fields& f) {
  BlockQ6_K b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  std::memcpy(f.scales, b.scales, sizeof(b.scales));
  put_halves(b.ql, 64, kSuperBlock, f.q);
  add_two_bits(b.qh, 4, f.q);
}

void look_up_iq4(int n_weights, std::uint8_t* q) {
  for (int i = 0; i < n_weights; ++i) q[i] = static_cast<std::uint8_t>(kIq4Values[q[i]] + 128);
}

void read_iq4_nl(const std::byte* data, Fields& f) {
  BlockIQ4_NL b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  put_halves(b.qs, 16, kSmallBlock, f.q);
  look_up_iq4(kSmallBlock, f.q);
}

void read_iq4_xs(const std::byte* data, Fields& f) {
  BlockIQ4_XS b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  for (int j = 0; j < 8; ++j) f.scales[j] = static_cast<std::int8_t>(scale_iq4(b, j) - 32);
  put_halves(b.qs, 16, kSuperBlock, f.q);
  look_up_iq4(kSuperBlock, f.q);
}

// Whole numbers q of weights unit * scales[j] * (q - offset), 32 to a scale.
void find_numbers(const float* weights, float unit, int offset, Fields& f) {
  for (int i = 0; i < kSuperBlock; ++i) {
    const float step = unit * static_cast<float>(f.scales[i / 32]);
    f.q[i] = static_cast<std::uint8_t>(std::lround(weights[i] / step) + offset);
  }
}

// The weights of a block whose d is 1.
template <TensorType kType, typename Block>
std::array<float, kSuperBlock> weights_of_one(Block block) {
  block.d = 0x3c00;
  std::array<float, kSuperBlock> weights;
  dequantize_codebook_row(kType, reinterpret_cast<const std::byte*>(&block), weights.data(),
                          kSuperBlock);
  return weights;
}

void read_iq3_s(const std::byte* data, Fields& f) {
  BlockIQ3_S b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  for (int j = 0; j < 8; ++j) f.scales[j] = static_cast<std::int8_t>(scale_iq3_s(b, j));
  find_numbers(weights_of_one<TensorType::kIQ3_S>(b).data(), 1, kPackedIQ3_S.offset, f);
}

// w = d * scale / 4 * entry, and entry = 2 * (q - offset).
void read_iq3_xxs(const std::byte* data, Fields& f) {
  BlockIQ3_XXS b;
  std::memcpy(&b, data, sizeof(b));
  f.d = f32_to_f16(f16_to_f32(b.d) / 2);
  for (int j = 0; j < 8; ++j) f.scales[j] = static_cast<std::int8_t>(scale_iq3_xxs(b, j));
  find_numbers(weights_of_one<TensorType::kIQ3_XXS>(b).data(), 0.5f, kPackedIQ3_XXS.offset, f);
}

struct Packing {
  PackedFormat format;
  void (*read)(const std::byte* block, Fields& fields);
};

std::optional<Packing> packing_of(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return Packing{kPackedQ4_0, read_small<BlockQ4_0>};
    case TensorType::kQ4_1:
      return Packing{kPackedQ4_1, read_small<BlockQ4_1>};
    case TensorType::kQ5_0:
      return Packing{kPackedQ5_0, read_small<BlockQ5_0>};
    case TensorType::kQ5_1:
      return Packing{kPackedQ5_1, read_small<BlockQ5_1>};
    case TensorType::kQ8_0:
      return Packing{kPackedQ8_0, read_q8_0};
    case TensorType::kMXFP4:
      return Packing{kPackedMXFP4, read_mxfp4};
    case TensorType::kIQ4_NL:
      return Packing{kPackedIQ4_NL, read_iq4_nl};
    case TensorType::kIQ4_XS:
      return Packing{kPackedIQ4_XS, read_iq4_xs};
    case TensorType::kIQ3_S:
      return Packing{kPackedIQ3_S, read_iq3_s};
    case TensorType::kIQ3_XXS:
      return Packing{kPackedIQ3_XXS, read_iq3_xxs};
    case TensorType::kQ2_K:
      return Packing{kPackedQ2_K, read_q2_k};
    case TensorType::kQ3_K:
      return Packing{kPackedQ3_K, read_q3_k};
    case TensorType::kQ4_K:
      return Packing{kPackedQ4_K, read_q45_k<BlockQ4_K>};
    case TensorType::kQ5_K:
      return Packing{kPackedQ5_K, read_q45_k<BlockQ5_K>};
    case TensorType::kQ6_K:
      return Packing{kPackedQ6_K, read_q6_k};
    default:
      return std::nullopt;
  }
}

// The 8 quads of one row's chunk, as words of 4 bytes, into the planes at `out`; `r` is the row's
// word in each vector.
void put_quads(int bits, const std::uint8_t* q, int r, std::uint8_t* out) {
  std::uint32_t quads[8];
  std::memcpy(quads, q, sizeof(quads));
  const auto put = [&](int vector, std::uint32_t word) {
    std::memcpy(out + vector * 64 + r * 4, &word, 4);
  };
  const auto bits_at = [](std::uint32_t quad, int shift, std::uint32_t mask) {
    return (quad >> shift) & (mask * 0x01010101u);
  };
  if (bits == 8) {
    for (int j = 0; j < 8; ++j) put(j, quads[j]);
    return;
  }
  int taken = 0;  // bits that the planes before hold
  if (bits >= 4) {
    for (int j = 0; j < 4; ++j)
      put(j, bits_at(quads[j], 0, 15) | bits_at(quads[j + 4], 0, 15) << 4);
    out += 256;
    taken = 4;
  }
  if (bits - taken >= 2) {
    for (int half = 0; half < 2; ++half) {
      std::uint32_t word = 0;
      for (int j = 0; j < 4; ++j) word |= bits_at(quads[half * 4 + j], taken, 3) << (2 * j);
      put(half, word);
    }
    out += 128;
    taken += 2;
  }
  if (bits - taken == 1) {
    std::uint32_t word = 0;
    for (int j = 0; j < 8; ++j) word |= bits_at(quads[j], taken, 1) << j;
    put(0, word);
  }
}

// Row `r`'s part of a packed block.
void put_row(const PackedFormat& format, const Fields& f, int r, std::byte* block) {
  auto* out = reinterpret_cast<std::uint8_t*>(block);
  std::memcpy(out + 2 * r, &f.d, 2);
  if (format.has_minimums) std::memcpy(out + 2 * (kGroupRows + r), &f.m, 2);
  out += format.head_bytes();
  const int subs = format.subs();
  for (int chunk = 0; chunk < format.block / 32; ++chunk, out += format.chunk_bytes()) {
    put_quads(format.bits, f.q + chunk * 32, r, out);
    if (!format.has_scales) continue;
    std::uint8_t* scales = out + 64 * format.bits;
    for (int s = 0; s < subs; ++s) {
      scales[s * kGroupRows + r] = static_cast<std::uint8_t>(f.scales[chunk * subs + s]);
      if (format.has_minimums)
        scales[(subs + s) * kGroupRows + r] =
            static_cast<std::uint8_t>(f.minimums[chunk * subs + s]);
    }
  }
}

}  // namespace

std::optional<PackedFormat> packed_format(TensorType type) {
  const auto packing = packing_of(type);
  return packing ? std::optional(packing->format) : std::nullopt;
}

std::size_t packed_bytes(TensorType type, std::int64_t cols) {
  const auto format = packed_format(type);
  return format ? packed_group_bytes(*format, cols) : 0;
}

void pack_group(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                std::int64_t row, std::byte* out) {
  pack_columns(type, data, rows, cols, row, 0, cols, out);
}

void pack_columns(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                  std::int64_t row, std::int64_t first, std::int64_t last, std::byte* out) {
  const auto [format, read] = *packing_of(type);
  const std::size_t stored_block = traits(type).block_bytes;
  const std::size_t row_bytes = bytes_of(type, cols);
  std::memset(out, 0, packed_group_bytes(format, last - first));
  for (std::int64_t block = first / format.block; block < last / format.block;
       ++block, out += format.block_bytes()) {
    for (int r = 0; r < kGroupRows && row + r < rows; ++r) {
      Fields fields;
      read(data + static_cast<std::size_t>(row + r) * row_bytes +
               static_cast<std::size_t>(block) * stored_block,
           fields);
      put_row(format, fields, r, out);
    }
  }
}

}  // namespace runnel::kernels
