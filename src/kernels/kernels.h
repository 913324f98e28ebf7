// The kernels: one table of functions for each instruction set, chosen once at start.
//
// Two rules keep every equality of the project true on each table. An output element is accumulated
// in an order that depends on nothing but its own operands: not on the number of tokens in the
// chunk, on threads, or on where a key lies in the cache. And no kernel allocates, locks, logs or
// throws.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/tensor_type.h"
#include "kernels/pack/packed.h"

namespace runnel::kernels {

// A weight matrix as stored: `rows` outputs of `cols` inputs each, row by row.
struct Matrix {
  TensorType type = TensorType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;  // a whole number of blocks
  const std::byte* data = nullptr;
  const std::byte* packed = nullptr;  // the same as Table::pack leaves them, group after group

  std::size_t row_bytes() const { return bytes_of(type, cols); }
  explicit operator bool() const { return data != nullptr; }
};

// y[t][r] = sum over k of w[r][k] * x[t][k]  (+ bias[r])
struct Matmul {
  Matrix w;
  const float* x = nullptr;  // [n_tokens, x_stride], the first `cols` of each row
  std::int64_t x_stride = 0;
  std::byte* inputs = nullptr;  // of x, by prepare(); read instead of it where wanted
  int n_tokens = 0;
  const float* bias = nullptr;  // [rows] or null
  float* y = nullptr;           // [n_tokens, y_stride]
  std::int64_t y_stride = 0;
};

// Numbers from one row of a panel of weights to the next: never a power of two, so that rows begin
// in different sets of the cache.
inline std::int64_t panel_stride(std::int64_t cols) { return (cols + 31) / 32 * 32 + 32; }

inline constexpr std::size_t kLeastScratchBytes = std::size_t{112} << 10;
// Bytes of scratch that matmul() needs: a panel of all columns, or one of a few and the sums of
// many tokens.
inline std::size_t matmul_scratch_bytes(std::int64_t cols) {
  const std::size_t panel =
      sizeof(float) * kGroupRows * static_cast<std::size_t>(panel_stride(cols));
  return std::max(panel, kLeastScratchBytes);
}

// Keys lie in tiles of 16 consecutive positions, so that one vector holds the scores of a tile.
inline constexpr int kTile = 16;

enum class KvFormat { kF32, kF16, kBF16, kQ8_0, kQ4_0 };

// What the codes of Q4_0 say, in 128ths of their block's scale: closer together near 0, as numbers
// of a bell curve are.
constexpr std::int8_t kKvCodes[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr int kKvBlock = 16;  // dimensions that share a scale of Q4_0

// One KV head's part of one area (sinks or ring) of the cache.
//   keys    [n_tiles, head_dim, kTile]       values  [n_tiles * kTile, head_dim]
// Q8_0 has int8 elements and one f16 scale for 32 dimensions of one position:
//   key_scales [n_tiles, ceil(head_dim / 32), kTile]    value_scales [n_tiles * kTile,
//   ceil(head_dim / 32)]
// Q4_0 has codes of 4 bits, and for 16 dimensions of one position a scale of 8 bits, the upper ones
// of an f16. A byte of keys holds dimensions 2 i and 2 i + 1, one of values i and i + 16 of 32; the
// lower one in its low half:
//   keys [n_tiles, ceil(head_dim / 2), kTile]    values [n_tiles * kTile, ceil(head_dim / 32), 16]
//   key_scales [n_tiles, ceil(head_dim / 16), kTile]    value_scales [n_tiles * kTile,
//   ceil(head_dim / 16)], both bytes
struct KvArea {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  std::uint16_t* key_scales = nullptr;
  std::uint16_t* value_scales = nullptr;
  std::int64_t n_tiles = 0;
  KvFormat format = KvFormat::kF32;
};

// A softmax that was taken over a part of the keys: of what it weighed, for another part to join.
struct SoftmaxSums {
  float maximum = 0;      // of the scores
  float denominator = 0;  // the sum of exp(score - maximum); 0: the row saw nothing
};

// One query row: a head of a token.
struct QueryRow {
  const float* query = nullptr;       // [head_dim + n_angles], rotated for the window
  const float* sink_query = nullptr;  // [head_dim], rotated for the sinks
  float* out = nullptr;               // [head_dim]
  std::int64_t position = 0;          // of the token in the stream
  std::int64_t cache_position = 0;    // of the token inside the cache
  float bias_slope = 0;               // ALiBi: scores get -slope * distance
  float sink_logit = 0;  // exp(sink_logit) joins the denominator; -inf: standard softmax
  float* weights =
      nullptr;  // null, or receives the attention weights: [sinks | window tiles], see Attention
  SoftmaxSums* sums = nullptr;  // null, or receives them
};

// Softmax attention of a few query rows over one KV head: sinks, then the ring's tiles from the
// oldest visible one.
struct Attention {
  int head_dim = 0;
  KvArea sinks;
  KvArea ring;
  // Further dimensions of queries and of the ring's keys, which all heads share: f16,
  // [ring.n_tiles, n_angles, kTile].
  const std::uint16_t* angles = nullptr;
  int n_angles = 0;
  int n_sinks = 0;               // sinks stored so far that may be visible
  std::int64_t window = 0;       // a window key is seen up to this distance
  std::int64_t sink_reach = 0;   // a sink is seen up to this distance inside the cache
  std::int64_t first = 0;        // the ring holds positions >= first
  std::int64_t oldest_tile = 0;  // position / kTile of the first and the last tile to visit
  std::int64_t newest_tile = 0;  // oldest_tile - 1: none
  float scale = 1;               // of scores, before everything else
  float softcap = 0;             // 0, or scores become cap * tanh(score / cap)
  // What is attended to afterwards, if known: its first tiles are asked for in good time.
  const Attention* next = nullptr;

  std::int64_t n_sink_tiles() const { return (n_sinks + kTile - 1) / kTile; }
  std::int64_t n_window_tiles() const { return newest_tile - oldest_tile + 1; }
  // Of QueryRow::weights, when wanted: those of the sinks' tiles, then of the window's.
  std::int64_t n_weights() const { return (n_sink_tiles() + n_window_tiles()) * kTile; }
};
inline constexpr int kMaxQueryRows = 128;

// What products multiply: weights, queries and keys as stored, or made these first.
enum class Numbers { kFloat, kInt8, kBFloat16 };
inline constexpr int kNumberKinds = 3;

// Forms of inputs, as a set of bits.
inline constexpr unsigned kInt8Inputs = 1;
inline constexpr unsigned kBfloatInputs = 2;

// Writes one position's key and value, [head_dim] floats each, to its slot of an area.
void store_kv(const KvArea& area, int head_dim, std::int64_t slot, const float* key,
              const float* value);

struct Table {
  const char* name;  // "portable", "avx2", "avx_vnni", "avx512", "avx512_bf16", "amx"

  // Rows [first_row, last_row) of the product, first_row a multiple of kGroupRows. `scratch`:
  // matmul_scratch_bytes(), 64-byte aligned.
  void (*matmul)(const Matmul& task, std::int64_t first_row, std::int64_t last_row,
                 std::byte* scratch);
  // Products with some weights read inputs in a form of their own, made once for all
  // of them. `inputs`: input_bytes(), 64-byte aligned; prepare() fills in one token's
  // columns from `first` on, in all forms of the set `forms`, from the `cols` floats
  // at x. Two calls may meet at a multiple of input_columns.
  unsigned (*wanted_inputs)(const Matrix& w);  // 0: the floats themselves
  std::size_t (*input_bytes)(std::int64_t cols, int n_tokens);
  void (*prepare)(unsigned forms, const float* x, std::int64_t cols, std::int64_t first,
                  std::int64_t last, int token, int n_tokens, std::byte* inputs);
  std::int64_t input_columns;
  // How weights are rearranged: bytes of a group of kGroupRows rows, 0 for types that stay as
  // stored; and what writes a group (packed.h, spans.h, half_products.inl).
  std::size_t (*packed_bytes)(TensorType type, std::int64_t cols);
  void (*pack)(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
               std::int64_t row, std::byte* out);

  // out = x / rms(x) * weight, and (x - mean) / std * weight + bias; weight and bias may be null.
  // In place is allowed.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, float* out, int n);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon,
                     float* out, int n);
  void (*add)(const float* x, float* y, int n);  // y += x
  void (*silu)(const float* gate, const float* up, float* out,
               int n);  // out = silu(gate) * up; up may be null
  void (*gelu)(const float* gate, const float* up, float* out, int n);  // the tanh form
  void (*swiglu_oai)(const float* gate, const float* up, float* out,
                     int n);                    // gpt-oss: clamped, (up + 1) * swish
  void (*softcap)(float* x, float cap, int n);  // x = cap * tanh(x / cap)
  // Reads n bytes (a multiple of 256) and returns their sum, to measure the machine.
  std::int64_t (*read_all)(const std::byte* data, std::int64_t n);
  // log(sum(exp(x[i])))
  float (*log_sum_exp)(const float* x, int n);

  void (*attend)(const Attention& task, const QueryRow* rows, int n_rows, std::byte* scratch);
  // 64-byte aligned; for up to head_dim + 1 angles
  std::size_t (*attention_scratch_bytes)(int head_dim);
  int query_rows;             // that share a cache tile best in attend(); at most kMaxQueryRows
  Numbers attention_numbers;  // but floats over an F32 cache
  Numbers (*numbers)(const Matrix& w);

  // What the machine can do at most, by Numbers: `rounds` of independent multiply-adds in
  // registers; returns how many that were. Null for numbers that this table does not multiply.
  std::int64_t (*peaks[kNumberKinds])(std::int64_t rounds, float* sink);
  // The same for a packed type's products with int8: where bytes are added in 16 bits first, the
  // largest weights say how often.
  std::int64_t (*packed_peak)(TensorType type, std::int64_t rounds, float* sink);
};

// The best table of this machine, or the one RUNNEL_ISA names. Chosen once. Error: RUNNEL_ISA
// names no table, or one this machine cannot run.
const Table& best_table();
// Every table this machine can run, the portable one first. For tests and benchmarks: (count,
// pointers).
struct Tables {
  const Table* items[8];
  int size;
  const Table* const* begin() const { return items; }
  const Table* const* end() const { return items + size; }
};
Tables attainable_tables();

}  // namespace runnel::kernels
