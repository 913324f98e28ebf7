// Products of one stored form of weights with one, eight or 16 rows of inputs. Built once for each
// form: quantised weights as packed.h lays them out (groups of 16 rows, BITS, BLOCK columns that
// share d, SUBS sub-blocks in 32 columns, SCALES, MINIMUMS, OFFSET, ADDS_MINIMUM, E2M1), or floats
// (FLOAT_BITS 16 or 32, BFLOAT), whose groups are [chunk of 32 columns][pair or column][16 rows].
//
// One row makes its inputs for itself (product_alone), and gate and up of a feed-forward layer leave
// the inputs of what follows (gate_up_alone), so that a dense layer is five launches with attention.
//
// A work-group takes 16 rows of weights. Its work-items are 16 rows by SPLITS, as many as the device
// likes; split s sums the chunks s, s + SPLITS, ... and the splits are added in order.
#define GROUP_ROWS 16

#ifdef FLOAT_BITS
#define CHUNK_BYTES (32 * GROUP_ROWS * FLOAT_BITS / 8)
#define GROUP_BYTES(chunks) ((long)(chunks) * CHUNK_BYTES)
#define INPUTS global const float* floats
#define LOCAL_INPUTS local float* floats
#else
#define LISTS (SCALES + SCALES * MINIMUMS)
#define CHUNK_BYTES (64 * BITS + GROUP_ROWS * SUBS * LISTS)
#define HEAD_BYTES ((MINIMUMS ? 2 : 1) * GROUP_ROWS * 2)
#define BLOCK_CHUNKS (BLOCK / 32)
#define BLOCK_BYTES (HEAD_BYTES + BLOCK_CHUNKS * CHUNK_BYTES)
#define GROUP_BYTES(chunks) ((long)((chunks) / BLOCK_CHUNKS) * BLOCK_BYTES)
#define INPUTS global const int* quants, global const float* scales, global const short* sums
#define LOCAL_INPUTS local int* quants, local float* scales, local short* sums

// sum + the products of four unsigned with four signed bytes
int dot4(uint w, int x, int sum) {
#if defined(DOT_NVIDIA)
  int result;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(w), "r"(x), "r"(sum));
  return result;
#elif defined(DOT_KHR)
  return sum + dot_4x8packed_us_int(w, as_uint(x));
#else
  const int4 products = convert_int4(as_uchar4(w)) * convert_int4(as_char4(x));
  return sum + products.x + products.y + products.z + products.w;
#endif
}

#if E2M1
constant uchar kE2M1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
uint looked_up(uint codes) {
  return kE2M1[codes & 15] | (uint)kE2M1[(codes >> 8) & 15] << 8 |
         (uint)kE2M1[(codes >> 16) & 15] << 16 | (uint)kE2M1[(codes >> 24) & 15] << 24;
}
#else
#define looked_up(codes) (codes)
#endif

// Quad j, 4 consecutive weights, of a row's chunk.
uint quad_of(const uint* words, int j) {
#if BITS == 8
  return words[j];
#elif BITS >= 4
  uint q = (words[j % 4] >> (j / 4 * 4)) & 0x0f0f0f0f;
#if BITS == 5
  q |= ((words[4] >> j) & 0x01010101) << 4;
#elif BITS == 6
  q |= ((words[4 + j / 4] >> (2 * (j % 4))) & 0x03030303) << 4;
#endif
  return looked_up(q);
#else
  uint q = (words[j / 4] >> (2 * (j % 4))) & 0x03030303;
#if BITS == 3
  q |= ((words[2] >> j) & 0x01010101) << 2;
#endif
  return q;
#endif
}
#endif

#ifdef FLOAT_BITS
// A row's chunk.
typedef struct {
  float of[32];
} Weights;

float float_at(global const uchar* w, int i, int row) {
#if FLOAT_BITS == 32
  return ((global const float*)w)[i * GROUP_ROWS + row];
#elif defined(BFLOAT)
  return bfloat_at((global const ushort*)w, (i / 2 * GROUP_ROWS + row) * 2 + i % 2);
#else
  return vload_half((i / 2 * GROUP_ROWS + row) * 2 + i % 2, (global const half*)w);
#endif
}

Weights weights_of(global const uchar* group, int chunk, int row) {
  global const uchar* at = group + (long)chunk * CHUNK_BYTES;
  Weights w;
  for (int i = 0; i < 32; i += 2) {
#if FLOAT_BITS == 32
    w.of[i] = float_at(at, i, row);
    w.of[i + 1] = float_at(at, i + 1, row);
#elif defined(BFLOAT)
    const uint both = ((global const uint*)at)[i / 2 * GROUP_ROWS + row];
    w.of[i] = as_float(both << 16);
    w.of[i + 1] = as_float(both & 0xffff0000);
#else
    const float2 both = vload_half2(i / 2 * GROUP_ROWS + row, (global const half*)at);
    w.of[i] = both.x;
    w.of[i + 1] = both.y;
#endif
  }
  return w;
}

// acc[t] += the products of a chunk with T rows of inputs from `first` on.
#define ADD_CHUNK(T, w, chunk)                                                                   \
  for (int i = 0; i < 32; ++i) {                                                                 \
    for (int t = 0; t < T; ++t) {                                                                \
      const long token = min(first + t, n - 1);                                                  \
      acc[t] = fma((w).of[i], floats[(token * chunks + (chunk)) * 32 + i], acc[t]);              \
    }                                                                                            \
  }
#else
#if E2M1
#define SCALE_AT(p, i) bfloat_at((global const ushort*)(p), i)
#else
#define SCALE_AT(p, i) vload_half(i, (global const half*)(p))
#endif
#if SCALES
#define WHOLE(sum0, sum1, half0, half1)                                                 \
  (scale[0] * ((sum0) - OFFSET * (half0)) + scale[SUBS - 1] * ((sum1) - OFFSET * (half1)))
#else
#define WHOLE(sum0, sum1, half0, half1) ((sum0) + (sum1) - OFFSET * ((half0) + (half1)))
#endif
#if MINIMUMS && ADDS_MINIMUM
#define VALUE(whole, half0, half1) (d * (float)(whole) + m * (float)((half0) + (half1)))
#elif MINIMUMS
#define VALUE(whole, half0, half1) \
  (d * (float)(whole) - m * (float)(minimum[0] * (half0) + minimum[SUBS - 1] * (half1)))
#else
#define VALUE(whole, half0, half1) (d * (float)(whole))
#endif

// A row's chunk, as it is stored.
typedef struct {
  uint words[BITS];
  float d, m;
  int scale[2], minimum[2];
} Weights;

Weights weights_of(global const uchar* group, int chunk, int row) {
  global const uchar* block = group + (long)(chunk / BLOCK_CHUNKS) * BLOCK_BYTES;
  global const uchar* at = block + HEAD_BYTES + chunk % BLOCK_CHUNKS * CHUNK_BYTES;
  global const char* lists = (global const char*)at + 64 * BITS + row;
  Weights w;
  for (int v = 0; v < BITS; ++v) w.words[v] = ((global const uint*)at)[v * GROUP_ROWS + row];
  w.d = SCALE_AT(block, row);
  w.m = MINIMUMS ? SCALE_AT(block, MINIMUMS * GROUP_ROWS + row) : 0.0f;
  for (int s = 0; s < 2; ++s) {
    w.scale[s] = SCALES && s < SUBS ? lists[s * GROUP_ROWS] : 1;
    w.minimum[s] = SCALES && MINIMUMS && s < SUBS ? lists[(SUBS + s) * GROUP_ROWS] : 0;
  }
  return w;
}

// acc[t] += the products of a chunk with T rows of inputs from `first` on.
#define ADD_CHUNK(T, w, chunk)                                                                   \
  {                                                                                              \
    const float d = (w).d;                                                                       \
    const float m = (w).m;                                                                       \
    const int scale[2] = {(w).scale[0], (w).scale[1]};                                           \
    const int minimum[2] = {(w).minimum[0], (w).minimum[1]};                                     \
    uint q[8];                                                                                   \
    for (int j = 0; j < 8; ++j) q[j] = quad_of((w).words, j);                                    \
    for (int t = 0; t < T; ++t) {                                                                \
      const long place = (long)min(first + t, n - 1) * chunks + (chunk);                         \
      const int8 x = vload8(place, quants);                                                      \
      const int sum0 =                                                                           \
          dot4(q[3], x.s3, dot4(q[2], x.s2, dot4(q[1], x.s1, dot4(q[0], x.s0, 0))));             \
      const int sum1 =                                                                           \
          dot4(q[7], x.s7, dot4(q[6], x.s6, dot4(q[5], x.s5, dot4(q[4], x.s4, 0))));             \
      const int half0 = sums[place * 2];                                                         \
      const int half1 = sums[place * 2 + 1];                                                     \
      const int whole = WHOLE(sum0, sum1, half0, half1);                                         \
      acc[t] = fma(scales[place], VALUE(whole, half0, half1), acc[t]);                           \
    }                                                                                            \
  }
#endif

// acc[t] += the products of a split's chunks; the next one is on its way from memory meanwhile.
#define ADD_CHUNKS(T)                                                                            \
  {                                                                                              \
    Weights next = weights_of(group, min(split, chunks - 1), row);                               \
    for (int chunk = split; chunk < chunks; chunk += SPLITS) {                                   \
      const Weights now = next;                                                                  \
      next = weights_of(group, min(chunk + SPLITS, chunks - 1), row);                            \
      ADD_CHUNK(T, now, chunk)                                                                   \
    }                                                                                            \
  }

// Up to three products of the same inputs: y[t, r] = (y[t, r] +) w[r] . x[t] (+ bias[r]).
#define PRODUCT(NAME, T)                                                                         \
  kernel __attribute__((reqd_work_group_size(GROUP_ROWS * SPLITS, 1, 1))) void NAME(             \
      INPUTS, int chunks, int n, int adds, int biases, global const uchar* w0, int rows0,        \
      global const float* bias0, global float* y0, global const uchar* w1, int rows1,            \
      global const float* bias1, global float* y1, global const uchar* w2, int rows2,            \
      global const float* bias2, global float* y2) {                                             \
    local float parts[T][SPLITS][GROUP_ROWS];                                                    \
    const int row = get_local_id(0) % GROUP_ROWS;                                                \
    const int split = get_local_id(0) / GROUP_ROWS;                                              \
    const int first = get_group_id(0) * T;                                                       \
    const int groups0 = (rows0 + GROUP_ROWS - 1) / GROUP_ROWS;                                   \
    const int groups1 = (rows1 + GROUP_ROWS - 1) / GROUP_ROWS;                                   \
    int of_matrix = get_group_id(1);                                                             \
    int matrix = 0;                                                                              \
    if (of_matrix >= groups0) of_matrix -= groups0, matrix = 1;                                  \
    if (matrix == 1 && of_matrix >= groups1) of_matrix -= groups1, matrix = 2;                   \
    const int rows = matrix == 0 ? rows0 : matrix == 1 ? rows1 : rows2;                          \
    global const uchar* group =                                                                  \
        (matrix == 0 ? w0 : matrix == 1 ? w1 : w2) + of_matrix * GROUP_BYTES(chunks);            \
    float acc[T];                                                                                \
    for (int t = 0; t < T; ++t) acc[t] = 0;                                                      \
    ADD_CHUNKS(T)                                                                                \
    for (int t = 0; t < T; ++t) parts[t][split][row] = acc[t];                                   \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                \
    const int r = of_matrix * GROUP_ROWS + row;                                                  \
    for (int t = split; t < T; t += SPLITS) {                                                    \
      if (first + t >= n || r >= rows) continue;                                                 \
      float sum = 0;                                                                             \
      for (int s = 0; s < SPLITS; ++s) sum += parts[t][s][row];                                  \
      global const float* bias = matrix == 0 ? bias0 : matrix == 1 ? bias1 : bias2;              \
      if ((biases >> matrix) & 1) sum += bias[r];                                                \
      global float* y = (matrix == 0 ? y0 : matrix == 1 ? y1 : y2) + (long)(first + t) * rows;   \
      y[r] = adds ? y[r] + sum : sum;                                                            \
    }                                                                                            \
  }

PRODUCT(product_1, 1)
PRODUCT(product_8, 8)
PRODUCT(product_16, 16)

// The same of a tile: 64 rows by 32 tokens for a work-group of 16 x 8, whose weights and inputs of a
// chunk lie in local memory while each work-item takes 4 rows by 4 tokens of them. It passes the
// chunks in the order of the splits, so that its sums are those of the others to the last bit.
#define TILE_GROUPS 4
#define TILE_LANES 8
#define TILE_TOKENS 4  // of a work-item
#define ALL_TILE_TOKENS (TILE_LANES * TILE_TOKENS)

#ifdef FLOAT_BITS
#define TILE_MEMORY                                        \
  local float tile_w[TILE_GROUPS][32][GROUP_ROWS];         \
  local float tile_x[ALL_TILE_TOKENS][32]
#define LOAD_TILE                                                                                \
  for (int i = lane; i < TILE_GROUPS * 32 * GROUP_ROWS; i += GROUP_ROWS * TILE_LANES) {          \
    const int g = i / (32 * GROUP_ROWS);                                                         \
    global const uchar* w =                                                                      \
        weights + min(first_group + g, groups - 1) * GROUP_BYTES(chunks) + (long)chunk * CHUNK_BYTES; \
    tile_w[g][i / GROUP_ROWS % 32][i % GROUP_ROWS] =                                             \
        float_at(w, i / GROUP_ROWS % 32, i % GROUP_ROWS);                                        \
  }                                                                                              \
  for (int i = lane; i < ALL_TILE_TOKENS * 32; i += GROUP_ROWS * TILE_LANES)                     \
    tile_x[i / 32][i % 32] =                                                                     \
        floats[((long)min(first + i / 32, n - 1) * chunks + chunk) * 32 + i % 32]
#define ADD_TILE                                                                                 \
  for (int i = 0; i < 32; ++i) {                                                                 \
    for (int g = 0; g < TILE_GROUPS; ++g) {                                                      \
      const float w = tile_w[g][i][row];                                                         \
      for (int t = 0; t < TILE_TOKENS; ++t)                                                      \
        acc[g][t] = fma(w, tile_x[token + t][i], acc[g][t]);                                     \
    }                                                                                            \
  }
#else
#define TILE_MEMORY                                                \
  local uint tile_w[TILE_GROUPS][8][GROUP_ROWS];                   \
  local float tile_d[TILE_GROUPS][2][GROUP_ROWS];                  \
  local int tile_lists[TILE_GROUPS][4][GROUP_ROWS];                \
  local int tile_x[ALL_TILE_TOKENS][8];                            \
  local float tile_scales[ALL_TILE_TOKENS];                        \
  local int tile_sums[ALL_TILE_TOKENS][2]
#define LOAD_TILE                                                                                \
  if (token_lane < TILE_GROUPS) {                                                                \
    const int g = token_lane;                                                                    \
    const Weights w =                                                                            \
        weights_of(weights + min(first_group + g, groups - 1) * GROUP_BYTES(chunks), chunk, row); \
    tile_d[g][0][row] = w.d;                                                                     \
    tile_d[g][1][row] = w.m;                                                                     \
    for (int s = 0; s < 2; ++s) {                                                                \
      tile_lists[g][s][row] = w.scale[s];                                                        \
      tile_lists[g][2 + s][row] = w.minimum[s];                                                  \
    }                                                                                            \
    for (int j = 0; j < 8; ++j) tile_w[g][j][row] = quad_of(w.words, j);                         \
  } else {                                                                                       \
    for (int i = (token_lane - TILE_GROUPS) * GROUP_ROWS + row; i < ALL_TILE_TOKENS * 8;         \
         i += (TILE_LANES - TILE_GROUPS) * GROUP_ROWS) {                                         \
      const long place = (long)min(first + i / 8, n - 1) * chunks + chunk;                       \
      tile_x[i / 8][i % 8] = quants[place * 8 + i % 8];                                          \
      if (i % 8 == 0) tile_scales[i / 8] = scales[place];                                        \
      if (i % 8 < 2) tile_sums[i / 8][i % 8] = sums[place * 2 + i % 8];                          \
    }                                                                                            \
  }
#define ADD_TILE                                                                                 \
  for (int g = 0; g < TILE_GROUPS; ++g) {                                                        \
    const float d = tile_d[g][0][row];                                                           \
    const float m = tile_d[g][1][row];                                                           \
    const int scale[2] = {tile_lists[g][0][row], tile_lists[g][1][row]};                         \
    const int minimum[2] = {tile_lists[g][2][row], tile_lists[g][3][row]};                       \
    uint q[8];                                                                                   \
    for (int j = 0; j < 8; ++j) q[j] = tile_w[g][j][row];                                        \
    for (int t = 0; t < TILE_TOKENS; ++t) {                                                      \
      local const int* x = tile_x[token + t];                                                    \
      const int sum0 = dot4(q[3], x[3], dot4(q[2], x[2], dot4(q[1], x[1], dot4(q[0], x[0], 0)))); \
      const int sum1 = dot4(q[7], x[7], dot4(q[6], x[6], dot4(q[5], x[5], dot4(q[4], x[4], 0)))); \
      const int half0 = tile_sums[token + t][0];                                                 \
      const int half1 = tile_sums[token + t][1];                                                 \
      const int whole = WHOLE(sum0, sum1, half0, half1);                                         \
      acc[g][t] = fma(tile_scales[token + t], VALUE(whole, half0, half1), acc[g][t]);            \
    }                                                                                            \
  }
#endif

kernel __attribute__((reqd_work_group_size(GROUP_ROWS, TILE_LANES, 1))) void product_tile(
    INPUTS, int chunks, int n, int adds, int biases, global const uchar* w0, int rows0,
    global const float* bias0, global float* y0, global const uchar* w1, int rows1,
    global const float* bias1, global float* y1, global const uchar* w2, int rows2,
    global const float* bias2, global float* y2) {
  TILE_MEMORY;
  const int row = get_local_id(0);
  const int token_lane = get_local_id(1);
  const int lane = token_lane * GROUP_ROWS + row;
  const int token = token_lane * TILE_TOKENS;
  const int first = get_group_id(0) * ALL_TILE_TOKENS;
  const int tiles0 = (rows0 + TILE_GROUPS * GROUP_ROWS - 1) / (TILE_GROUPS * GROUP_ROWS);
  const int tiles1 = (rows1 + TILE_GROUPS * GROUP_ROWS - 1) / (TILE_GROUPS * GROUP_ROWS);
  int tile = get_group_id(1);
  int matrix = 0;
  if (tile >= tiles0) tile -= tiles0, matrix = 1;
  if (matrix == 1 && tile >= tiles1) tile -= tiles1, matrix = 2;
  const int rows = matrix == 0 ? rows0 : matrix == 1 ? rows1 : rows2;
  const int groups = (rows + GROUP_ROWS - 1) / GROUP_ROWS;
  const int first_group = tile * TILE_GROUPS;
  global const uchar* weights = matrix == 0 ? w0 : matrix == 1 ? w1 : w2;
  float all[TILE_GROUPS][TILE_TOKENS];
  for (int g = 0; g < TILE_GROUPS; ++g)
    for (int t = 0; t < TILE_TOKENS; ++t) all[g][t] = 0;
  for (int split = 0; split < SPLITS; ++split) {
    float acc[TILE_GROUPS][TILE_TOKENS];
    for (int g = 0; g < TILE_GROUPS; ++g)
      for (int t = 0; t < TILE_TOKENS; ++t) acc[g][t] = 0;
    for (int chunk = split; chunk < chunks; chunk += SPLITS) {
      barrier(CLK_LOCAL_MEM_FENCE);
      LOAD_TILE;
      barrier(CLK_LOCAL_MEM_FENCE);
      ADD_TILE
    }
    for (int g = 0; g < TILE_GROUPS; ++g)
      for (int t = 0; t < TILE_TOKENS; ++t) all[g][t] += acc[g][t];
  }
  global const float* bias = matrix == 0 ? bias0 : matrix == 1 ? bias1 : bias2;
  global float* y = matrix == 0 ? y0 : matrix == 1 ? y1 : y2;
  for (int g = 0; g < TILE_GROUPS; ++g) {
    const int r = (first_group + g) * GROUP_ROWS + row;
    for (int t = 0; t < TILE_TOKENS; ++t) {
      if (first + token + t >= n || r >= rows) continue;
      const float sum = ((biases >> matrix) & 1) ? all[g][t] + bias[r] : all[g][t];
      const long to = (long)(first + token + t) * rows + r;
      y[to] = adds ? y[to] + sum : sum;
    }
  }
}

#ifdef FLOAT_BITS
#define MAKE_INPUTS                                                                              \
  prepare_here(SOURCE_OF(0), width, chunks, 0, 1, (local char*)0, (local float*)0, (local short*)0, \
               floats, room, counts, factors)
#else
#define MAKE_INPUTS                                                                              \
  prepare_here(SOURCE_OF(0), width, chunks, 1, 0, (local char*)quants, scales, sums,             \
               (local float*)0, room, counts, factors)
#endif

#ifdef ALONE
PREPARE(prepare_here, local)

// product_1 of inputs made here.
kernel __attribute__((reqd_work_group_size(GROUP_ROWS * SPLITS, 1, 1))) void product_alone(
    SOURCE, int width, LOCAL_INPUTS, local float* factors, int chunks, int adds, int biases,
    global const uchar* w0, int rows0, global const float* bias0, global float* y0,
    global const uchar* w1, int rows1, global const float* bias1, global float* y1,
    global const uchar* w2, int rows2, global const float* bias2, global float* y2) {
  local float room[GROUP_ROWS * SPLITS];
  local int counts[GROUP_ROWS * SPLITS];
  local float parts[SPLITS][GROUP_ROWS];
  MAKE_INPUTS;
  const int row = get_local_id(0) % GROUP_ROWS;
  const int split = get_local_id(0) / GROUP_ROWS;
  const int first = 0, n = 1;
  const int groups0 = (rows0 + GROUP_ROWS - 1) / GROUP_ROWS;
  const int groups1 = (rows1 + GROUP_ROWS - 1) / GROUP_ROWS;
  int of_matrix = get_group_id(0);
  int matrix = 0;
  if (of_matrix >= groups0) of_matrix -= groups0, matrix = 1;
  if (matrix == 1 && of_matrix >= groups1) of_matrix -= groups1, matrix = 2;
  const int rows = matrix == 0 ? rows0 : matrix == 1 ? rows1 : rows2;
  global const uchar* group =
      (matrix == 0 ? w0 : matrix == 1 ? w1 : w2) + of_matrix * GROUP_BYTES(chunks);
  float acc[1] = {0};
  ADD_CHUNKS(1)
  parts[split][row] = acc[0];
  barrier(CLK_LOCAL_MEM_FENCE);
  const int r = of_matrix * GROUP_ROWS + row;
  if (split != 0 || r >= rows) return;
  float sum = 0;
  for (int s = 0; s < SPLITS; ++s) sum += parts[s][row];
  global const float* bias_of = matrix == 0 ? bias0 : matrix == 1 ? bias1 : bias2;
  if ((biases >> matrix) & 1) sum += bias_of[r];
  global float* y = matrix == 0 ? y0 : matrix == 1 ? y1 : y2;
  y[r] = adds ? y[r] + sum : sum;
}

// Of one row: 32 rows of gate and up, their activation, and that as a chunk of inputs. The
// work-group is 128 work-items, or 256 or 512, which take two or four of the four products at once.
kernel __attribute__((reqd_work_group_size(GATE_UP_GROUP, 1, 1))) void gate_up_alone(
    SOURCE, int width, LOCAL_INPUTS, local float* factors, int chunks,
                          int biases, global const uchar* w0, global const float* bias0,
                          global const uchar* w1, global const float* bias1, int rows,
                          int is_gated, int activation_of, int wants_quants, int wants_floats,
                          global char* out_quants, global float* out_scales,
                          global short* out_sums, global float* out_floats) {
  local float room[GATE_UP_GROUP];
  local int counts[GATE_UP_GROUP];
  local float parts[4][SPLITS][GROUP_ROWS];
  local float y[2 * GROUP_ROWS];
  {
    const int source = SOURCE_NORM;  // of no other is gate and up a product
    MAKE_INPUTS;
  }
  const int lane = get_local_id(0);
  const int row = lane % GROUP_ROWS;
  const int split = lane / GROUP_ROWS % SPLITS;
  const int first = 0, n = 1;
  const int groups = (rows + GROUP_ROWS - 1) / GROUP_ROWS;
  const int chunk_of = get_group_id(0);
  for (int of = lane / (GROUP_ROWS * SPLITS); of < 4; of += GATE_UP_GROUP / (GROUP_ROWS * SPLITS)) {
    const int of_matrix = chunk_of * 2 + of % 2;
    float acc[1] = {0};
    if (of_matrix < groups && (of < 2 || is_gated)) {
      global const uchar* group = (of < 2 ? w0 : w1) + of_matrix * GROUP_BYTES(chunks);
      ADD_CHUNKS(1)
    }
    parts[of][split][row] = acc[0];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const int r = chunk_of * 32 + lane;
  if (lane < 32) {
    float up_sum = 0;
    float gate_sum = 0;
    for (int s = 0; s < SPLITS; ++s) up_sum += parts[lane / GROUP_ROWS][s][row];
    for (int s = 0; s < SPLITS; ++s) gate_sum += parts[2 + lane / GROUP_ROWS][s][row];
    if (r < rows && (biases & 1)) up_sum += bias0[r];
    if (r < rows && (biases & 2)) gate_sum += bias1[r];
    y[lane] = r >= rows ? 0.0f
                        : activated(activation_of, is_gated ? gate_sum : up_sum,
                                    is_gated ? up_sum : 1.0f);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (lane < 32) {
    if (wants_floats) out_floats[r] = y[lane];
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = fmax(largest, fabs(y[i]));
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
    counts[lane] = convert_int_rte(y[lane] * inverse);
    if (wants_quants) out_quants[r] = (char)counts[lane];
    if (wants_quants && lane == 0) out_scales[chunk_of] = largest / 127.0f;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (wants_quants && lane < 2) {
    int sum = 0;
    for (int i = 0; i < 16; ++i) sum += counts[lane * 16 + i];
    out_sums[chunk_of * 2 + lane] = (short)sum;
  }
}
#endif

#ifdef MEASURES
// Chains of multiply-adds that depend on nothing in memory.
kernel void peak_int8(int rounds, global int* out) {
  int a[8];
  for (int i = 0; i < 8; ++i) a[i] = get_global_id(0) + i;
  for (int r = 0; r < rounds; ++r) {
    for (int i = 0; i < 8; ++i) a[i] = dot4(0x03050709 + i, a[i], r);
  }
  int sum = 0;
  for (int i = 0; i < 8; ++i) sum += a[i];
  out[get_global_id(0)] = sum;
}

kernel void peak_float(int rounds, global float* out) {
  float a[16];
  for (int i = 0; i < 16; ++i) a[i] = get_global_id(0) + i;
  for (int r = 0; r < rounds; ++r) {
    for (int i = 0; i < 16; ++i) a[i] = fma(a[i], 0.999f, 0.001f);
  }
  float sum = 0;
  for (int i = 0; i < 16; ++i) sum += a[i];
  out[get_global_id(0)] = sum;
}
#endif

#ifdef TEST_DOT
kernel void test_dot(global int* result) { *result = dot4(0x07c803ff, 0x01ff7f80, 0); }
#endif

#ifdef CHOSEN
// y[c] = w[chosen[c]] . x[c / per_input] (+ bias[chosen[c]]): one of several matrices for each
// choice c, in the order of product_1.
kernel __attribute__((reqd_work_group_size(GROUP_ROWS * SPLITS, 1, 1))) void product_chosen(
    INPUTS, int chunks, int per_input, global const int* chosen, global const uchar* weights,
    int rows, global const float* bias, int has_bias, global float* y) {
  local float parts[SPLITS][GROUP_ROWS];
  const int row = get_local_id(0) % GROUP_ROWS;
  const int split = get_local_id(0) / GROUP_ROWS;
  const int choice = get_group_id(1);
  const int first = choice / per_input;
  const int n = first + 1;
  const long groups = (rows + GROUP_ROWS - 1) / GROUP_ROWS;
  global const uchar* group =
      weights + (chosen[choice] * groups + get_group_id(0)) * GROUP_BYTES(chunks);
  float acc[1] = {0};
  ADD_CHUNKS(1)
  parts[split][row] = acc[0];
  barrier(CLK_LOCAL_MEM_FENCE);
  const int r = get_group_id(0) * GROUP_ROWS + row;
  if (split != 0 || r >= rows) return;
  float sum = 0;
  for (int s = 0; s < SPLITS; ++s) sum += parts[s][row];
  if (has_bias) sum += bias[(long)chosen[choice] * rows + r];
  y[(long)choice * rows + r] = sum;
}
#endif
