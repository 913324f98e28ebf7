// Rotation, the cache and attention over it. The cache lies as on the processor (kv_cache.h): for
// each head of an area keys [tiles, head_dim, 16], values [slots, head_dim], and for Q8_0 the scales
// of both. Built for one FORMAT of numbers and heads of up to 64 * MOST_DIMS.
#define TILE 16
#define FORMAT_F32 0
#define FORMAT_F16 1
#define FORMAT_BF16 2
#define FORMAT_Q8_0 3
#define DIMS 16      // numbers that a work-item asks memory for at once
#define KEYS 64     // of a block of keys
#define PARTS 4     // of a key's dimensions, and of a block's values: a work-item takes one of them
#define ITEMS (KEYS * PARTS)
// As many as are read at once, or more of them.
#define DIMS_OF_PART(head_dim) (((head_dim) + PARTS * DIMS - 1) / (PARTS * DIMS) * DIMS)
#define ROPE_NONE 0
#define ROPE_INTERLEAVED 1

typedef struct {
  long offset;        // of the area, in bytes
  long head_bytes;
  long value_bytes;   // from a head's keys to its values
  long scale_bytes;   // of the keys' scales; they follow the values
  long slots;
} Area;

// One KV head's part of an area.
typedef struct {
  global uchar* keys;
  global uchar* values;
  global uchar* key_scales;
  global uchar* value_scales;
} Head;

Head head_of(global uchar* cache, Area area, int head) {
  global uchar* p = cache + area.offset + head * area.head_bytes;
  const Head h = {p, p + area.value_bytes, p + 2 * area.value_bytes,
                  p + 2 * area.value_bytes + area.scale_bytes};
  return h;
}

float element(global const uchar* p, long i) {
  if (FORMAT == FORMAT_F32) return ((global const float*)p)[i];
  if (FORMAT == FORMAT_F16) return vload_half(i, (global const half*)p);
  if (FORMAT == FORMAT_BF16) return bfloat_at((global const ushort*)p, i);
  return (float)((global const char*)p)[i];
}

void store_element(global uchar* p, long i, float x) {
  if (FORMAT == FORMAT_F32) ((global float*)p)[i] = x;
  if (FORMAT == FORMAT_F16) vstore_half_rte(x, i, (global half*)p);
  if (FORMAT == FORMAT_BF16) ((global ushort*)p)[i] = to_bfloat(x);
}

// 32 numbers as int8; `step` elements from one to the next.
void store_block(global uchar* quants, long first, int step, global uchar* scales, long scale_at,
                 local const float* x, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = fmax(largest, fabs(x[i]));
  vstore_half_rte(largest / 127.0f, scale_at, (global half*)scales);
  const float scale = vload_half(scale_at, (global const half*)scales);
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int i = 0; i < n; ++i)
    ((global char*)quants)[first + (long)i * step] =
        (char)clamp(convert_int_rte(x[i] * inverse), -127, 127);
}

void rotate_pairs(local const float* from, global float* to, local float* also, int head_dim,
                  int rope, int n_pairs, global const float* cosines, global const float* sines) {
  const int step = rope == ROPE_INTERLEAVED ? 2 : 1;
  const int second = rope == ROPE_INTERLEAVED ? 1 : n_pairs;
  for (int i = get_local_id(0); i < n_pairs; i += ITEMS) {
    const float x = from[i * step];
    const float y = from[i * step + second];
    const float rotated_x = x * cosines[i] - y * sines[i];
    const float rotated_y = x * sines[i] + y * cosines[i];
    if (to) to[i * step] = rotated_x, to[i * step + second] = rotated_y;
    if (also) also[i * step] = rotated_x, also[i * step + second] = rotated_y;
  }
  for (int i = 2 * n_pairs + get_local_id(0); i < head_dim; i += ITEMS) {
    if (to) to[i] = from[i];
    if (also) also[i] = from[i];
  }
}

// Weights behind the rotation (device/cpu/weighted_rotation.cpp): a query that meets keys without
// weights as if both had had theirs.
void rotate_weighted(local const float* from, global float* to, global float* sink_to, int head_dim,
                     int rope, int n_pairs, global const float* weights, bool is_twice,
                     global const float* cosines, global const float* sines,
                     global const float* sink_cosines, global const float* sink_sines,
                     global const float* mirror_cosines, global const float* mirror_sines) {
  const int step = rope == ROPE_INTERLEAVED ? 2 : 1;
  const int second = rope == ROPE_INTERLEAVED ? 1 : n_pairs;
  for (int i = get_local_id(0); i < n_pairs; i += ITEMS) {
    const int a = i * step;
    const int b = a + second;
    const float x = from[a];
    const float y = from[b];
    const float re = x * cosines[i] - y * sines[i];
    const float im = x * sines[i] + y * cosines[i];
    if (!is_twice) {
      sink_to[a] = to[a] = weights[a] * re;
      sink_to[b] = to[b] = weights[b] * im;
      continue;
    }
    const float mean = (weights[a] + weights[b]) / 2;
    const float difference = (weights[a] - weights[b]) / 2;
    to[a] = mean * re + difference * (x * mirror_cosines[i] - y * mirror_sines[i]);
    to[b] = mean * im - difference * (x * mirror_sines[i] + y * mirror_cosines[i]);
    sink_to[a] = weights[a] * (x * sink_cosines[i] - y * sink_sines[i]);
    sink_to[b] = weights[b] * (x * sink_sines[i] + y * sink_cosines[i]);
  }
  for (int i = 2 * n_pairs + get_local_id(0); i < head_dim; i += ITEMS)
    sink_to[i] = to[i] = weights[i] * from[i];
}

// A head of a query or key: clamped, normalised, scaled.
void load_head(global const float* from, local float* head, int head_dim, float clamp_to,
               int has_norm, global const float* norm, int has_weight, float epsilon, float scale,
               local float* room) {
  const int lane = get_local_id(0);
  float squares = 0;
  for (int i = lane; i < head_dim; i += ITEMS) {
    head[i] = clamp_to > 0 ? clamp(from[i], -clamp_to, clamp_to) : from[i];
    squares = fma(head[i], head[i], squares);
  }
  squares = sum_of_lanes(squares, room, ITEMS);
  if (has_norm) {
    const float factor = 1.0f / sqrt(squares / (float)head_dim + epsilon);
    for (int i = lane; i < head_dim; i += ITEMS)
      head[i] = head[i] * factor * (has_weight ? norm[i] : 1.0f);
  }
  for (int i = lane; i < head_dim; i += ITEMS) head[i] *= scale;
}

// Keys and values [head_dim] of a position to its slot, as the cache's format rounds them.
void store_kv(Head place, long slot, int head_dim, local const float* key,
              local const float* value) {
  const int lane = get_local_id(0);
  const long tile = slot / TILE;
  const int lane_of_tile = slot % TILE;
  if (FORMAT == FORMAT_Q8_0) {
    const int n_blocks = (head_dim + 31) / 32;
    for (int b = lane; b < n_blocks; b += ITEMS) {
      const int n = min(32, head_dim - b * 32);
      store_block(place.keys, (tile * head_dim + b * 32) * TILE + lane_of_tile, TILE,
                  place.key_scales, (tile * n_blocks + b) * TILE + lane_of_tile, key + b * 32, n);
      store_block(place.values, slot * head_dim + b * 32, 1, place.value_scales,
                  slot * n_blocks + b, value + b * 32, n);
    }
    return;
  }
  for (int i = lane; i < head_dim; i += ITEMS) {
    store_element(place.keys, (tile * head_dim + i) * TILE + lane_of_tile, key[i]);
    store_element(place.values, slot * head_dim + i, value[i]);
  }
}

// One head of one token: query heads first, then KV heads with their key and value, if it has some.
kernel void rotate_and_store(
    global float* q, global float* sink_q, global const float* k, global const float* v,
    int first_row, int n_heads, int n_kv_heads, int head_dim, int rope, int n_pairs,
    global const float* cosines, global const float* sines, global const float* sink_cosines,
    global const float* sink_sines, global const float* mirror_cosines,
    global const float* mirror_sines, global const float* rotated_weights, int has_rotated_weights,
    global const long* positions, global const float* query_scales, float clamp_to,
    global const float* q_norm, int has_q_norm, global const float* k_norm, int has_k_norm,
    float epsilon, int normalizes_values, global uchar* cache, Area sinks, Area ring,
    long n_sinks, local float* head, local float* rotated) {
  local float room[ITEMS];
  const long row = first_row + get_group_id(1);
  const bool is_query = get_group_id(0) < n_heads;
  const int h = is_query ? get_group_id(0) : get_group_id(0) - n_heads;
  const long at = (row * (is_query ? n_heads : n_kv_heads) + h) * head_dim;
  const long angle = row * n_pairs;
  load_head((is_query ? q : k) + at, head, head_dim, clamp_to, is_query ? has_q_norm : has_k_norm,
            is_query ? q_norm : k_norm, !has_rotated_weights, epsilon,
            is_query ? query_scales[row] : 1.0f, room);
  barrier(CLK_LOCAL_MEM_FENCE);
  const int pairs = rope == ROPE_NONE ? 0 : n_pairs;
  const long position = positions[row * 2];
  const bool is_twice = positions[row * 2 + 1] != position;
  if (is_query && has_rotated_weights) {
    rotate_weighted(head, q + at, sink_q + at, head_dim, rope, pairs, rotated_weights, is_twice,
                    cosines + angle, sines + angle, sink_cosines + angle, sink_sines + angle,
                    mirror_cosines + angle, mirror_sines + angle);
    return;
  }
  if (is_query) {
    rotate_pairs(head, q + at, 0, head_dim, rope, pairs, cosines + angle, sines + angle);
    rotate_pairs(head, sink_q + at, 0, head_dim, rope, pairs,
                 (is_twice ? sink_cosines : cosines) + angle,
                 (is_twice ? sink_sines : sines) + angle);
    return;
  }
  rotate_pairs(head, 0, rotated, head_dim, rope, pairs, cosines + angle, sines + angle);
  barrier(CLK_LOCAL_MEM_FENCE);
  load_head(v + at, head, head_dim, clamp_to, normalizes_values, v, 0, epsilon, 1.0f, room);
  barrier(CLK_LOCAL_MEM_FENCE);
  const bool is_sink = position < n_sinks;
  store_kv(head_of(cache, is_sink ? sinks : ring, h), is_sink ? position : position % ring.slots,
           head_dim, rotated, head);
}

// What a row sees: sinks [low, low + n), then positions from `oldest` to its own.
typedef struct {
  long low;
  long n_sinks;
  long oldest;
  long n;
} View;

View view_of(long position, long cache_position, long n_sinks, long window, long sink_reach) {
  const long low = max(cache_position - sink_reach, 0L);
  const long newest = min(position, n_sinks - 1);
  const long n_seen = max(newest - low + 1, 0L);
  const long oldest = max(position - window, n_sinks);
  const View view = {low, n_seen, oldest, n_seen + max(position - oldest + 1, 0L)};
  return view;
}

// Key `index` of the view, whose first key in the ring has slot `first_slot`: its slot there, or
// -1 - slot among the sinks.
long slot_of(View view, long index, long first_slot, long slots) {
  if (index < view.n_sinks) return -1 - (view.low + index);
  const long slot = first_slot + (index - view.n_sinks);
  return slot < slots ? slot : slot - slots;
}

// A part of the dimensions of a query times those of a key.
float part_of_dot(Head sinks, Head ring, long slot, int head_dim, local const float* query,
                  local const float* sink_query, int part) {
  const bool is_sink = slot < 0;
  const long s = is_sink ? -1 - slot : slot;
  global const uchar* keys = is_sink ? sinks.keys : ring.keys;
  global const half* scales = (global const half*)(is_sink ? sinks.key_scales : ring.key_scales);
  local const float* q = is_sink ? sink_query : query;
  const long tile = s / TILE;
  const int lane = s % TILE;
  const long at = tile * head_dim * TILE + lane;
  const int n_blocks = (head_dim + 31) / 32;
  const int n_dims = DIMS_OF_PART(head_dim);
  const int end = min(head_dim, (part + 1) * n_dims);
  float dot = 0;
  for (int d = part * n_dims; d < end; d += DIMS) {
    const float scale =
        FORMAT == FORMAT_Q8_0 ? vload_half((tile * n_blocks + d / 32) * TILE + lane, scales) : 1.0f;
    float key[DIMS];
    for (int i = 0; i < DIMS; ++i)
      key[i] = d + i < end ? element(keys, at + (d + i) * TILE) * scale : 0.0f;
    for (int i = 0; i < DIMS; ++i)
      if (d + i < end) dot = fma(q[d + i], key[i], dot);
  }
  return dot;
}

float part_of_own(local const float* query, local const float* key, int head_dim, int part) {
  const int n_dims = DIMS_OF_PART(head_dim);
  const int end = min(head_dim, (part + 1) * n_dims);
  float dot = 0;
  for (int d = part * n_dims; d < end; ++d) dot = fma(query[d], key[d], dot);
  return dot;
}

float score_of(float dot, float scale, float softcap, float slope, long distance) {
  float score = dot * scale;
  if (softcap > 0) score = softcap * tanh(score / softcap);
  if (slope != 0) score -= slope * (float)distance;
  return score;
}

// How far key `index` of the view is from a token, inside the cache if the key is a sink.
long distance_of(View view, long index, long position, long cache_position) {
  return index < view.n_sinks ? cache_position - (view.low + index)
                              : position - (view.oldest + (index - view.n_sinks));
}

#define ATTENTION_ARGUMENTS                                                                      \
  global const float *q, global const float *sink_q, int first_row, int n_heads, int group,      \
      int head_dim, global const long *positions, global uchar *cache, Area sinks,               \
      Area ring, long n_sinks, long window, long sink_reach, float scale, float softcap,         \
      global const float *slopes, int has_slopes

#define LOAD_QUERY                                                                              \
  const int lane = get_local_id(0);                                                             \
  const int head = get_group_id(1);                                                             \
  const long row = first_row + get_group_id(2);                                                 \
  const long position = positions[row * 2];                                                     \
  const long cache_position = positions[row * 2 + 1];                                           \
  const View view = view_of(position, cache_position, n_sinks, window, sink_reach);             \
  const Head sink_head = head_of(cache, sinks, head / group);                                   \
  const Head ring_head = head_of(cache, ring, head / group);                                    \
  const float slope = has_slopes ? slopes[head] : 0.0f;                                         \
  for (int i = lane; i < head_dim; i += get_local_size(0)) {                                     \
    query[i] = q[(row * n_heads + head) * head_dim + i];                                        \
    sink_query[i] = sink_q[(row * n_heads + head) * head_dim + i];                              \
  }                                                                                             \
  barrier(CLK_LOCAL_MEM_FENCE)

// Dimension d of the value of a slot of the ring, or, -1 - slot, of the sinks.
float value_of(Head sinks, Head ring, long slot, int head_dim, int d) {
  const Head from = slot < 0 ? sinks : ring;
  const long s = slot < 0 ? -1 - slot : slot;
  const float value = element(from.values, s * head_dim + d);
  if (FORMAT != FORMAT_Q8_0) return value;
  return value *
         vload_half(s * ((head_dim + 31) / 32) + d / 32, (global const half*)from.value_scales);
}

// The numbers of all sides' work-items of a lane, for those of the first side; see ATTEND_PART.
float sum_of_sides(float x, int n_sides, local float* room) {
  const int lane = get_local_id(0);
  room[lane] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int side = 1; side < n_sides && lane < KEYS; ++side) x += room[side * KEYS + lane];
  barrier(CLK_LOCAL_MEM_FENCE);
  return x;
}

// What attend_part() works in.
typedef struct {
  float room[ITEMS];
  float weights[KEYS];
  long slots[KEYS];
} Workspace;

// A part of a row's and head's softmax: blocks of KEYS keys, every n_splits-th of them. Leaves the
// maximum, the denominator and the weighted values. A split beyond n_splits leaves nothing's.
// `own_key`, `own_value`: those of the last key, as the cache would give them, where they may not be
// there yet; else null.
//
// SIDE: parts of the sums that work-items take side by side; KEYS * SIDE of them, with the same bits.
#define ATTEND_PART(NAME, SIDE)                                                                  \
  void NAME(View view, Head sinks, Head ring, long slots_of_ring, int head_dim,                  \
            local const float* query, local const float* sink_query, local const float* own_key, \
            local const float* own_value, float scale, float softcap, float slope, long position, \
            long cache_position, int split, int n_splits, local Workspace* work,                 \
            global float* result) {                                                              \
    const int lane = get_local_id(0) % KEYS;                                                     \
    const int side = get_local_id(0) / KEYS;                                                     \
    local float* const room = work->room;                                                        \
    const long first_slot = view.oldest % slots_of_ring;                                         \
    float maximum = -INFINITY;                                                                   \
    float denominator = 0;                                                                       \
    float acc[PARTS / SIDE][MOST_DIMS];                                                          \
    for (int turn = 0; turn < PARTS / SIDE; ++turn)                                              \
      for (int i = 0; i < MOST_DIMS; ++i) acc[turn][i] = 0;                                      \
    const long end = split < n_splits ? view.n : 0;                                              \
    for (long first = (long)split * KEYS; first < end; first += (long)n_splits * KEYS) {         \
      const int n = (int)min((long)KEYS, view.n - first);                                        \
      const int n_stored = own_key != 0 && first + n == view.n ? n - 1 : n;                      \
      const long slot = slot_of(view, first + lane, first_slot, slots_of_ring);                  \
      float dot = 0;                                                                             \
      for (int turn = 0; turn < PARTS / SIDE; ++turn) {                                          \
        const int part = turn * SIDE + side;                                                     \
        float of_part = 0;                                                                       \
        if (lane < n_stored) {                                                                   \
          of_part = part_of_dot(sinks, ring, slot, head_dim, query, sink_query, part);           \
        } else if (lane < n) {                                                                   \
          of_part = part_of_own(first + lane < view.n_sinks ? sink_query : query, own_key,       \
                                head_dim, part);                                                 \
        }                                                                                        \
        dot = turn == 0 ? of_part : dot + of_part;                                               \
      }                                                                                          \
      if (SIDE > 1) dot = sum_of_sides(dot, SIDE, room);                                         \
      const float score =                                                                        \
          side == 0 && lane < n                                                                  \
              ? score_of(dot, scale, softcap, slope,                                             \
                         distance_of(view, first + lane, position, cache_position))              \
              : -INFINITY;                                                                       \
      const float largest = fmax(maximum, max_of_lanes(score, room, KEYS));                      \
      const float shrink = exp(maximum - largest);                                               \
      const float weight = score > -INFINITY ? exp(score - largest) : 0.0f;                      \
      maximum = largest;                                                                         \
      if (side == 0) work->weights[lane] = weight, work->slots[lane] = slot;                     \
      denominator = denominator * shrink + sum_of_lanes(weight, room, KEYS);                     \
      for (int turn = 0; turn < PARTS / SIDE; ++turn) {                                          \
        const int first_value = (turn * SIDE + side) * (KEYS / PARTS);                           \
        for (int i = 0; i < MOST_DIMS && i * KEYS < head_dim; ++i) {                             \
          const int d = lane + i * KEYS;                                                         \
          float sum = acc[turn][i] * shrink;                                                     \
          float values[KEYS / PARTS];                                                            \
          for (int k = 0; k < KEYS / PARTS; ++k) {                                               \
            const int j = first_value + k;                                                       \
            values[k] = d < head_dim && j < n_stored                                             \
                            ? value_of(sinks, ring, work->slots[j], head_dim, d)                 \
                            : 0.0f;                                                              \
          }                                                                                      \
          for (int k = 0; k < KEYS / PARTS; ++k) {                                               \
            const int j = first_value + k;                                                       \
            if (j < n_stored) sum = fma(work->weights[j], values[k], sum);                       \
            if (j == n_stored && j < n && d < head_dim)                                          \
              sum = fma(work->weights[j], own_value[d], sum);                                    \
          }                                                                                      \
          acc[turn][i] = sum;                                                                    \
        }                                                                                        \
      }                                                                                          \
      barrier(CLK_LOCAL_MEM_FENCE);                                                              \
    }                                                                                            \
    if (get_local_id(0) == 0) result[0] = maximum, result[1] = denominator;                      \
    for (int i = 0; i < MOST_DIMS && i * KEYS < head_dim; ++i) {                                 \
      const int d = lane + i * KEYS;                                                             \
      float sum = acc[0][i];                                                                     \
      for (int turn = 1; turn < PARTS / SIDE; ++turn) sum += acc[turn][i];                       \
      if (SIDE > 1) sum = sum_of_sides(sum, SIDE, room);                                         \
      if (side == 0 && d < head_dim) result[2 + d] = sum;                                        \
    }                                                                                            \
  }

ATTEND_PART(attend_part, 1)
ATTEND_PART(attend_part_together, PARTS)

// parts [rows, heads, n_splits, head_dim + 2], of which the cache's own number is used. KEYS
// work-items, for SPLITS_OF_GROUP of a row's and head's splits.
#define SPLITS_OF_GROUP 4
kernel void attend(ATTENTION_ARGUMENTS, int n_splits, int own_splits, int part_row,
                   global float* parts, local float* query, local float* sink_query) {
  local Workspace work;
  LOAD_QUERY;
  parts += ((part_row + (long)get_group_id(2)) * n_heads + head) * n_splits * (head_dim + 2);
  const int first = get_group_id(0) * SPLITS_OF_GROUP;
  for (int split = first; split < min(first + SPLITS_OF_GROUP, n_splits); ++split)
    attend_part(view, sink_head, ring_head, ring.slots, head_dim, query, sink_query, 0, 0, scale,
                softcap, slope, position, cache_position, split, own_splits, &work,
                parts + split * (head_dim + 2));
}

// Up to four streams' caches.
typedef struct {
  Area sinks, ring;
  long n_sinks, window, sink_reach;
  int n_splits;
} Place;
typedef struct {
  Place of[4];
} Places;

// [32 or fewer] numbers as a block of Q8_0 gives them back.
void round_block(local float* x, int n, local ushort* half_room) {
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = fmax(largest, fabs(x[i]));
  vstore_half_rte(largest / 127.0f, 0, (local half*)half_room);
  const float scale = vload_half(0, (local const half*)half_room);
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int i = 0; i < n; ++i)
    x[i] = (float)(char)clamp(convert_int_rte(x[i] * inverse), -127, 127) * scale;
}

void round_as_stored(local float* x, int head_dim, local ushort* half_room) {
  const int lane = get_local_id(0);
  if (FORMAT == FORMAT_Q8_0) {
    for (int b = lane; b * 32 < head_dim; b += ITEMS)
      round_block(x + b * 32, min(32, head_dim - b * 32), half_room + lane);
    return;
  }
  for (int i = lane; i < head_dim; i += ITEMS) {
    if (FORMAT == FORMAT_F16) {
      vstore_half_rte(x[i], 0, (local half*)(half_room + lane));
      x[i] = vload_half(0, (local const half*)(half_room + lane));
    }
    if (FORMAT == FORMAT_BF16) x[i] = as_float((uint)to_bfloat(x[i]) << 16);
  }
}

// rotate_and_store and attend for streams of one token each: every work-group rotates its query and
// the token's key, which it need not wait to find in the cache; one of a KV head stores it. Its slot
// held what nobody sees any more.
kernel void attend_alone(
    global const float* q, global const float* k, global const float* v, int first_row, int n_heads,
    int n_kv_heads, int head_dim, int rope, int n_pairs, global const float* cosines,
    global const float* sines, global const float* sink_cosines, global const float* sink_sines,
    global const long* positions, global const float* query_scales, float clamp_to,
    global const float* q_norm, int has_q_norm, global const float* k_norm, int has_k_norm,
    float epsilon, int normalizes_values, global uchar* cache0, global uchar* cache1, global uchar* cache2,
    global uchar* cache3, Places places, float scale, float softcap, global const float* slopes,
    int has_slopes, int n_splits, global float* parts, local float* query,
    local float* sink_query, local float* own_key, local float* own_value, local float* head_room) {
  local Workspace work;
  local ushort half_room[ITEMS];
  local float* const room = work.room;
  const int lane = get_local_id(0);
  const int split = get_group_id(0);
  const int head = get_group_id(1);
  const int stream = get_group_id(2);
  const long row = first_row + stream;
  const int group = n_heads / n_kv_heads;
  const int kv_head = head / group;
  const Place place = places.of[stream];
  global uchar* cache = stream == 0 ? cache0 : stream == 1 ? cache1 : stream == 2 ? cache2 : cache3;
  const Head sinks = head_of(cache, place.sinks, kv_head);
  const Head ring = head_of(cache, place.ring, kv_head);
  const long position = positions[row * 2];
  const long cache_position = positions[row * 2 + 1];
  const bool is_twice = cache_position != position;
  const int pairs = rope == ROPE_NONE ? 0 : n_pairs;
  const long angle = row * n_pairs;
  load_head(q + (row * n_heads + head) * head_dim, head_room, head_dim, clamp_to, has_q_norm, q_norm,
            1, epsilon, query_scales[row], room);
  barrier(CLK_LOCAL_MEM_FENCE);
  rotate_pairs(head_room, 0, query, head_dim, rope, pairs, cosines + angle, sines + angle);
  rotate_pairs(head_room, 0, sink_query, head_dim, rope, pairs,
               (is_twice ? sink_cosines : cosines) + angle, (is_twice ? sink_sines : sines) + angle);
  barrier(CLK_LOCAL_MEM_FENCE);
  load_head(k + (row * n_kv_heads + kv_head) * head_dim, head_room, head_dim, clamp_to, has_k_norm,
            k_norm, 1, epsilon, 1.0f, room);
  barrier(CLK_LOCAL_MEM_FENCE);
  rotate_pairs(head_room, 0, own_key, head_dim, rope, pairs, cosines + angle, sines + angle);
  load_head(v + (row * n_kv_heads + kv_head) * head_dim, own_value, head_dim, clamp_to,
            normalizes_values, v, 0, epsilon, 1.0f, room);
  barrier(CLK_LOCAL_MEM_FENCE);
  if (split == 0 && head % group == 0) {
    const bool is_sink = position < place.n_sinks;
    store_kv(is_sink ? sinks : ring, is_sink ? position : position % place.ring.slots,
             head_dim, own_key, own_value);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  round_as_stored(own_key, head_dim, half_room);
  round_as_stored(own_value, head_dim, half_room);
  barrier(CLK_LOCAL_MEM_FENCE);
  const View view =
      view_of(position, cache_position, place.n_sinks, place.window, place.sink_reach);
  attend_part_together(view, sinks, ring, place.ring.slots, head_dim, query, sink_query,
              own_key, own_value, scale, softcap, has_slopes ? slopes[head] : 0.0f, position,
              cache_position, split, place.n_splits, &work,
              parts + ((row * n_heads + head) * n_splits + split) * (head_dim + 2));
}

// Joins the parts [n, heads, n_splits, head_dim + 2] of rows from first_row on, where there are too
// many to keep for the product.
kernel void merge(global const float* parts, int first_row, int n_heads, int n_splits, int head_dim,
                  global const float* row_sinks, global const float* head_sinks, int has_head_sinks,
                  global float* out, local float* factors) {
  const long row = first_row + get_group_id(0);
  const int width = n_heads * head_dim;
  parts += (long)get_group_id(0) * n_heads * n_splits * (head_dim + 2);
  local float* denominators = factors + n_heads * n_splits;
  weigh_parts(parts, n_heads, n_splits, head_dim, row_sinks[row], head_sinks, has_head_sinks,
              factors, denominators, denominators + n_heads);
  for (int at = get_local_id(0) * AT_ONCE; at < width; at += ITEMS * AT_ONCE) {
    float joined[AT_ONCE];
    join_parts(parts, n_splits, head_dim, width, factors, denominators, at, joined);
    for (int i = 0; i < AT_ONCE && at + i < width; ++i) out[row * width + at + i] = joined[i];
  }
}

// For study: all scores of one row, [heads, most], sinks first.
kernel void score(ATTENTION_ARGUMENTS, long most, global float* scores, local float* query,
                  local float* sink_query) {
  LOAD_QUERY;
  for (long i = lane; i < view.n; i += ITEMS) {
    const long slot = slot_of(view, i, view.oldest % ring.slots, ring.slots);
    float dot = 0;
    for (int part = 0; part < PARTS; ++part)
      dot += part_of_dot(sink_head, ring_head, slot, head_dim, query, sink_query, part);
    scores[head * most + i] = score_of(dot, scale, softcap, slope,
                                       distance_of(view, i, position, cache_position));
  }
}
