#include "kernels/pack/packed.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "base/half.h"
#include "kernels/pack/blocks.h"
#include "kernels/pack/codebook_types.h"
#include "kernels/pack/eight_bytes.h"

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

void add_eight(std::uint8_t* p, EightBytes bits) { store_eight(p, load_eight(p) | bits); }

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

// Bytes of small blocks, which may begin at any address, are read where they lie: those of a copy
// wait until it is there.
const std::uint8_t* bytes_at(const std::byte* p) {
  return reinterpret_cast<const std::uint8_t*>(p);
}
std::uint16_t half_at(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return bits;
}

template <typename Block>
void read_small(const std::byte* data, Fields& f) {
  f.d = half_at(data + offsetof(Block, d));
  if constexpr (requires(Block b) { b.m; }) f.m = half_at(data + offsetof(Block, m));
  put_halves(bytes_at(data + offsetof(Block, qs)), 16, kSmallBlock, f.q);
  if constexpr (requires(Block b) { b.qh; }) {
    for (int i = 0; i < 4; ++i)
      add_eight(f.q + 8 * i, bits_to_bytes(bytes_at(data + offsetof(Block, qh))[i]) << 4);
  }
}

void read_q8_0(const std::byte* data, Fields& f) {
  f.d = half_at(data + offsetof(BlockQ8_0, d));
  const std::uint8_t* const qs = bytes_at(data + offsetof(BlockQ8_0, qs));
  for (int i = 0; i < kSmallBlock; i += 8) store_eight(f.q + i, load_eight(qs + i) ^ eight_of(128));
}

void read_mxfp4(const std::byte* data, Fields& f) {
  const unsigned e = *bytes_at(data + offsetof(BlockMXFP4, e));
  f.d = static_cast<std::uint16_t>(e >= 2 ? (e - 1) << 7 : 0x20 << e);  // 2^(e - 128), a bfloat16
  put_halves(bytes_at(data + offsetof(BlockMXFP4, qs)), 16, kSmallBlock, f.q);
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

// Of a byte with the codes of weights i and i + 16: its values plus 128, in the first and the fifth
// byte.
constexpr auto kIq4Halves = [] {
  std::array<EightBytes, 256> halves = {};
  for (std::size_t byte = 0; byte < halves.size(); ++byte) {
    halves[byte] = static_cast<EightBytes>(kIq4Values[byte & 15] + 128) |
                   static_cast<EightBytes>(kIq4Values[byte >> 4] + 128) << 32;
  }
  return halves;
}();

// 32 weights of 16 bytes.
void look_up_iq4(const std::uint8_t* qs, std::uint8_t* q) {
  const auto four = [](const std::uint8_t* codes) {
    return kIq4Halves[codes[0]] | kIq4Halves[codes[1]] << 8 | kIq4Halves[codes[2]] << 16 |
           kIq4Halves[codes[3]] << 24;
  };
  for (int i = 0; i < 16; i += 8) {
    const EightBytes first = four(qs + i);
    const EightBytes second = four(qs + i + 4);
    store_eight(q + i, (first & 0xffffffff) | second << 32);
    store_eight(q + 16 + i, first >> 32 | (second & ~EightBytes{0xffffffff}));
  }
}

void read_iq4_nl(const std::byte* data, Fields& f) {
  f.d = half_at(data + offsetof(BlockIQ4_NL, d));
  look_up_iq4(bytes_at(data + offsetof(BlockIQ4_NL, qs)), f.q);
}

void read_iq4_xs(const std::byte* data, Fields& f) {
  BlockIQ4_XS b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  for (int j = 0; j < 8; ++j) f.scales[j] = static_cast<std::int8_t>(scale_iq4(b, j) - 32);
  for (int chunk = 0; chunk < 8; ++chunk) look_up_iq4(b.qs + 16 * chunk, f.q + 32 * chunk);
}

// w = d * scale * (q - 15).
void read_iq3_s(const std::byte* data, Fields& f) {
  BlockIQ3_S b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  for (int j = 0; j < 8; ++j) f.scales[j] = static_cast<std::int8_t>(scale_iq3_s(b, j));
  look_up_entries(b, kPackedIQ3_S.offset, f.q);
}

// w = d / 2 * scale * (q - 31), for d * scale / 4 is multiplied by twice that.
void read_iq3_xxs(const std::byte* data, Fields& f) {
  BlockIQ3_XXS b;
  std::memcpy(&b, data, sizeof(b));
  f.d = f32_to_f16(f16_to_f32(b.d) / 2);
  for (int j = 0; j < 8; ++j) f.scales[j] = static_cast<std::int8_t>(scale_iq3_xxs(b, j));
  look_up_halved_entries(b, kPackedIQ3_XXS.offset, f.q);
}

// The 8 quads of one row's chunk, as words of 4 bytes, into the planes at `out`; `r` is the row's
// word in each vector.
template <int kBits>
void put_quads(const std::uint8_t* q, int r, std::uint8_t* out) {
  const auto put = [&](int vector, std::uint32_t word) {
    std::memcpy(out + vector * 64 + r * 4, &word, 4);
  };
  const auto put_two = [&](int vector, EightBytes words) {
    put(vector, static_cast<std::uint32_t>(words));
    put(vector + 1, static_cast<std::uint32_t>(words >> 32));
  };
  const auto bits_at = [&](int pair, int shift, unsigned mask) {  // of quads 2 * pair and the next
    return (load_eight(q + 8 * pair) >> shift) & eight_of(mask);
  };
  // The second of two quads beside the first, whose uppermost `shift` bits are free.
  const auto join = [](EightBytes quads, int shift) {
    return static_cast<std::uint32_t>(quads | (quads >> (32 - shift)));
  };
  if constexpr (kBits == 8) {
    for (int pair = 0; pair < 4; ++pair) put_two(2 * pair, load_eight(q + 8 * pair));
    return;
  }
  constexpr int kLow = kBits >= 4 ? 4 : 0;  // bits that the planes before hold
  if constexpr (kBits >= 4) {
    for (int pair = 0; pair < 2; ++pair)
      put_two(2 * pair, bits_at(pair, 0, 15) | bits_at(pair + 2, 0, 15) << 4);
    out += 256;
  }
  if constexpr (kBits - kLow >= 2) {
    for (int half = 0; half < 2; ++half)
      put(half, join(bits_at(2 * half, kLow, 3) | bits_at(2 * half + 1, kLow, 3) << 4, 2));
    out += 128;
  }
  if constexpr ((kBits - kLow) % 2 == 1) {
    constexpr int kAt = kBits - 1;
    put(0, join(bits_at(0, kAt, 1) | bits_at(1, kAt, 1) << 2 | bits_at(2, kAt, 1) << 4 |
                    bits_at(3, kAt, 1) << 6,
                1));
  }
}

// Row `r`'s part of a packed block.
template <PackedFormat kFormat>
void put_row(const Fields& f, int r, std::byte* block) {
  auto* out = reinterpret_cast<std::uint8_t*>(block);
  std::memcpy(out + 2 * r, &f.d, 2);
  if constexpr (kFormat.has_minimums) std::memcpy(out + 2 * (kGroupRows + r), &f.m, 2);
  out += kFormat.head_bytes();
  constexpr int kSubs = kFormat.subs();
  for (int chunk = 0; chunk < kFormat.block / 32; ++chunk, out += kFormat.chunk_bytes()) {
    put_quads<kFormat.bits>(f.q + chunk * 32, r, out);
    if constexpr (!kFormat.has_scales) continue;
    std::uint8_t* scales = out + 64 * kFormat.bits;
    for (int s = 0; s < kSubs; ++s) {
      scales[s * kGroupRows + r] = static_cast<std::uint8_t>(f.scales[chunk * kSubs + s]);
      if constexpr (kFormat.has_minimums)
        scales[(kSubs + s) * kGroupRows + r] =
            static_cast<std::uint8_t>(f.minimums[chunk * kSubs + s]);
    }
  }
}

// Blocks that lie one behind the other, of rows that are row_bytes apart, up to 16.
struct Stored {
  const std::byte* begin;
  std::size_t row_bytes;
  std::size_t block_bytes;
  int n_rows;
  std::int64_t n_blocks;
};

template <PackedFormat kFormat, auto kRead>
void pack_blocks(const Stored& from, std::byte* out) {
  const std::size_t n_bytes = static_cast<std::size_t>(from.n_blocks) * kFormat.block_bytes();
  if (from.n_rows < kGroupRows) std::memset(out, 0, n_bytes);
  Fields fields;
  for (std::int64_t i = 0; i < from.n_blocks; ++i, out += kFormat.block_bytes()) {
    const std::byte* block = from.begin + static_cast<std::size_t>(i) * from.block_bytes;
    for (int r = 0; r < from.n_rows; ++r, block += from.row_bytes) {
      kRead(block, fields);
      put_row<kFormat>(fields, r, out);
    }
  }
}

struct Packing {
  PackedFormat format;
  void (*pack)(const Stored& from, std::byte* out);
};

template <PackedFormat kFormat, auto kRead>
Packing packing() {
  return {kFormat, pack_blocks<kFormat, kRead>};
}

std::optional<Packing> packing_of(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return packing<kPackedQ4_0, read_small<BlockQ4_0>>();
    case TensorType::kQ4_1:
      return packing<kPackedQ4_1, read_small<BlockQ4_1>>();
    case TensorType::kQ5_0:
      return packing<kPackedQ5_0, read_small<BlockQ5_0>>();
    case TensorType::kQ5_1:
      return packing<kPackedQ5_1, read_small<BlockQ5_1>>();
    case TensorType::kQ8_0:
      return packing<kPackedQ8_0, read_q8_0>();
    case TensorType::kMXFP4:
      return packing<kPackedMXFP4, read_mxfp4>();
    case TensorType::kIQ4_NL:
      return packing<kPackedIQ4_NL, read_iq4_nl>();
    case TensorType::kIQ4_XS:
      return packing<kPackedIQ4_XS, read_iq4_xs>();
    case TensorType::kIQ3_S:
      return packing<kPackedIQ3_S, read_iq3_s>();
    case TensorType::kIQ3_XXS:
      return packing<kPackedIQ3_XXS, read_iq3_xxs>();
    case TensorType::kQ2_K:
      return packing<kPackedQ2_K, read_q2_k>();
    case TensorType::kQ3_K:
      return packing<kPackedQ3_K, read_q3_k>();
    case TensorType::kQ4_K:
      return packing<kPackedQ4_K, read_q45_k<BlockQ4_K>>();
    case TensorType::kQ5_K:
      return packing<kPackedQ5_K, read_q45_k<BlockQ5_K>>();
    case TensorType::kQ6_K:
      return packing<kPackedQ6_K, read_q6_k>();
    default:
      return std::nullopt;
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
  const auto [format, pack] = *packing_of(type);
  const std::size_t block_bytes = traits(type).block_bytes;
  const std::size_t row_bytes = bytes_of(type, cols);
  pack({.begin = data + static_cast<std::size_t>(row) * row_bytes +
                 static_cast<std::size_t>(first / format.block) * block_bytes,
        .row_bytes = row_bytes,
        .block_bytes = block_bytes,
        .n_rows = static_cast<int>(std::min<std::int64_t>(rows - row, kGroupRows)),
        .n_blocks = (last - first) / format.block},
       out);
}

}  // namespace runnel::kernels
