#include "kernels/packed.h"

#include <cstring>

#include "kernels/blocks.h"

namespace runnel::kernels {
namespace {

constexpr int kRows = 16;

// One block of one row, its fields apart.
struct Fields {
  std::uint8_t q[kSuperBlock];
  std::int8_t scales[16];
  std::int8_t minimums[16];
  std::uint16_t d;
  std::uint16_t m;
};

int nibble(const std::uint8_t* qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

int fifth_bit(const std::uint8_t* qh, int i) { return ((qh[i / 8] >> (i % 8)) & 1) << 4; }

template <typename Block>
void read_small(const std::byte* data, Fields& f) {
  Block b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  if constexpr (requires { b.m; }) f.m = b.m;
  for (int i = 0; i < kSmallBlock; ++i) {
    int q = 0;
    if constexpr (sizeof(b.qs) == 32) {
      q = b.qs[i] + 128;
    } else {
      q = nibble(b.qs, i);
    }
    if constexpr (requires { b.qh; }) q |= fifth_bit(b.qh, i);
    f.q[i] = static_cast<std::uint8_t>(q);
  }
}

// Two bits of weight i of Q2_K and Q3_K, and of the high part of Q6_K where the halves are 32 bytes
// each.
int two_bits(const std::uint8_t* qs, int i) {
  return (qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
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
  for (int i = 0; i < kSuperBlock; ++i) f.q[i] = static_cast<std::uint8_t>(two_bits(b.qs, i));
}

void read_q3_k(const std::byte* data, Fields& f) {
  BlockQ3_K b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  for (int j = 0; j < 16; ++j) f.scales[j] = static_cast<std::int8_t>(scale_q3(b.scales, j) - 32);
  for (int i = 0; i < kSuperBlock; ++i) {
    f.q[i] =
        static_cast<std::uint8_t>(two_bits(b.qs, i) | ((b.hmask[i % 32] >> (i / 32)) & 1) << 2);
  }
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
  for (int i = 0; i < kSuperBlock; ++i) {
    const std::uint8_t two = b.qs[i / 64 * 32 + i % 32];
    int q = i % 64 < 32 ? two & 15 : two >> 4;
    if constexpr (requires { b.qh; }) q |= ((b.qh[i % 32] >> (i / 32)) & 1) << 4;
    f.q[i] = static_cast<std::uint8_t>(q);
  }
}

void read_q6_k(const std::byte* data, Fields& f) {
  BlockQ6_K b;
  std::memcpy(&b, data, sizeof(b));
  f.d = b.d;
  std::memcpy(f.scales, b.scales, sizeof(b.scales));
  for (int i = 0; i < kSuperBlock; ++i) {
    const std::uint8_t two = b.ql[i / 128 * 64 + i % 64];
    f.q[i] =
        static_cast<std::uint8_t>((i % 128 < 64 ? two & 15 : two >> 4) | two_bits(b.qh, i) << 4);
  }
}

using Read = void (*)(const std::byte*, Fields&);

Read reader_of(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return read_small<BlockQ4_0>;
    case TensorType::kQ4_1:
      return read_small<BlockQ4_1>;
    case TensorType::kQ5_0:
      return read_small<BlockQ5_0>;
    case TensorType::kQ5_1:
      return read_small<BlockQ5_1>;
    case TensorType::kQ8_0:
      return read_small<BlockQ8_0>;
    case TensorType::kQ2_K:
      return read_q2_k;
    case TensorType::kQ3_K:
      return read_q3_k;
    case TensorType::kQ4_K:
      return read_q45_k<BlockQ4_K>;
    case TensorType::kQ5_K:
      return read_q45_k<BlockQ5_K>;
    case TensorType::kQ6_K:
      return read_q6_k;
    default:
      return nullptr;
  }
}

// Puts `value`'s low `bits` bits of quad j, byte `at` of its vector, into the planes at `out`.
void put(int bits, int j, std::size_t at, int value, std::uint8_t* out) {
  if (bits == 8) {
    out[static_cast<std::size_t>(j) * 64 + at] = static_cast<std::uint8_t>(value);
    return;
  }
  if (bits >= 4) {
    out[static_cast<std::size_t>(j % 4) * 64 + at] |=
        static_cast<std::uint8_t>((value & 15) << (j / 4 * 4));
    out += 256;
    value >>= 4;
    bits -= 4;
  }
  if (bits >= 2) {
    out[static_cast<std::size_t>(j / 4) * 64 + at] |=
        static_cast<std::uint8_t>((value & 3) << (j % 4 * 2));
    out += 128;
    value >>= 2;
    bits -= 2;
  }
  if (bits == 1) out[at] |= static_cast<std::uint8_t>(value << j);
}

// Row `r`'s part of a packed block.
void put_row(const PackedFormat& format, const Fields& f, int r, std::byte* block) {
  auto* out = reinterpret_cast<std::uint8_t*>(block);
  std::memcpy(out + 2 * r, &f.d, 2);
  if (format.has_minimums) std::memcpy(out + 32 + 2 * r, &f.m, 2);
  out += format.has_minimums ? 64 : 32;
  const int subs = format.subs();
  for (int chunk = 0; chunk < format.block / 32; ++chunk, out += format.chunk_bytes()) {
    for (int i = 0; i < 32; ++i) {
      put(format.bits, i / 4, static_cast<std::size_t>(r * 4 + i % 4), f.q[chunk * 32 + i], out);
    }
    if (!format.has_scales) continue;
    std::uint8_t* scales = out + 64 * format.bits;
    for (int s = 0; s < subs; ++s) {
      scales[s * 16 + r] = static_cast<std::uint8_t>(f.scales[chunk * subs + s]);
      if (format.has_minimums)
        scales[(subs + s) * 16 + r] = static_cast<std::uint8_t>(f.minimums[chunk * subs + s]);
    }
  }
}

}  // namespace

std::optional<PackedFormat> packed_format(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return kPackedQ4_0;
    case TensorType::kQ4_1:
      return kPackedQ4_1;
    case TensorType::kQ5_0:
      return kPackedQ5_0;
    case TensorType::kQ5_1:
      return kPackedQ5_1;
    case TensorType::kQ8_0:
      return kPackedQ8_0;
    case TensorType::kQ2_K:
      return kPackedQ2_K;
    case TensorType::kQ3_K:
      return kPackedQ3_K;
    case TensorType::kQ4_K:
      return kPackedQ4_K;
    case TensorType::kQ5_K:
      return kPackedQ5_K;
    case TensorType::kQ6_K:
      return kPackedQ6_K;
    default:
      return std::nullopt;
  }
}

void pack_group(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                std::int64_t row, std::byte* out) {
  const PackedFormat format = *packed_format(type);
  const Read read = reader_of(type);
  const std::size_t stored_block = traits(type).block_bytes;
  const std::size_t row_bytes = bytes_of(type, cols);
  std::memset(out, 0, packed_group_bytes(format, cols));
  for (std::int64_t block = 0; block < cols / format.block; ++block, out += format.block_bytes()) {
    for (int r = 0; r < kRows && row + r < rows; ++r) {
      Fields fields;
      read(data + static_cast<std::size_t>(row + r) * row_bytes +
               static_cast<std::size_t>(block) * stored_block,
           fields);
      put_row(format, fields, r, out);
    }
  }
}

}  // namespace runnel::kernels
