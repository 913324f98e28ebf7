// Rotation, the cache and attention over it. The cache lies as on the processor (kv_cache.h): for
// each head of an area keys [tiles, head_dim, 16], values [slots, head_dim], and for Q8_0 the scales
// of both.
#define TILE 16
#define FORMAT_F32 0
#define FORMAT_F16 1
#define FORMAT_BF16 2
#define FORMAT_Q8_0 3
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

float element(global const uchar* p, long i, int format) {
  if (format == FORMAT_F32) return ((global const float*)p)[i];
  if (format == FORMAT_F16) return vload_half(i, (global const half*)p);
  if (format == FORMAT_BF16) return bfloat_at((global const ushort*)p, i);
  return (float)((global const char*)p)[i];
}

void store_element(global uchar* p, long i, int format, float x) {
  if (format == FORMAT_F32) ((global float*)p)[i] = x;
  if (format == FORMAT_F16) vstore_half_rte(x, i, (global half*)p);
  if (format == FORMAT_BF16) ((global ushort*)p)[i] = to_bfloat(x);
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
  for (int i = get_local_id(0); i < n_pairs; i += 64) {
    const float x = from[i * step];
    const float y = from[i * step + second];
    const float rotated_x = x * cosines[i] - y * sines[i];
    const float rotated_y = x * sines[i] + y * cosines[i];
    if (to) to[i * step] = rotated_x, to[i * step + second] = rotated_y;
    if (also) also[i * step] = rotated_x, also[i * step + second] = rotated_y;
  }
  for (int i = 2 * n_pairs + get_local_id(0); i < head_dim; i += 64) {
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
  for (int i = get_local_id(0); i < n_pairs; i += 64) {
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
  for (int i = 2 * n_pairs + get_local_id(0); i < head_dim; i += 64)
    sink_to[i] = to[i] = weights[i] * from[i];
}

// A head of a query or key: clamped, normalised, scaled.
void load_head(global const float* from, local float* head, int head_dim, float clamp_to,
               int has_norm, global const float* norm, int has_weight, float epsilon, float scale,
               local float* room) {
  const int lane = get_local_id(0);
  float squares = 0;
  for (int i = lane; i < head_dim; i += 64) {
    head[i] = clamp_to > 0 ? clamp(from[i], -clamp_to, clamp_to) : from[i];
    squares = fma(head[i], head[i], squares);
  }
  squares = sum_of_lanes(squares, room, 64);
  if (has_norm) {
    const float factor = 1.0f / sqrt(squares / (float)head_dim + epsilon);
    for (int i = lane; i < head_dim; i += 64)
      head[i] = head[i] * factor * (has_weight ? norm[i] : 1.0f);
  }
  for (int i = lane; i < head_dim; i += 64) head[i] *= scale;
}

// Keys and values [head_dim] of a position to its slot, as the cache's format rounds them.
void store_kv(Head place, long slot, int format, int head_dim, local const float* key,
              local const float* value) {
  const int lane = get_local_id(0);
  const long tile = slot / TILE;
  const int lane_of_tile = slot % TILE;
  if (format == FORMAT_Q8_0) {
    const int n_blocks = (head_dim + 31) / 32;
    for (int b = lane; b < n_blocks; b += 64) {
      const int n = min(32, head_dim - b * 32);
      store_block(place.keys, (tile * head_dim + b * 32) * TILE + lane_of_tile, TILE,
                  place.key_scales, (tile * n_blocks + b) * TILE + lane_of_tile, key + b * 32, n);
      store_block(place.values, slot * head_dim + b * 32, 1, place.value_scales,
                  slot * n_blocks + b, value + b * 32, n);
    }
    return;
  }
  for (int i = lane; i < head_dim; i += 64) {
    store_element(place.keys, (tile * head_dim + i) * TILE + lane_of_tile, format, key[i]);
    store_element(place.values, slot * head_dim + i, format, value[i]);
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
    float epsilon, int normalizes_values, global uchar* cache, int format, Area sinks, Area ring,
    long n_sinks, local float* head, local float* rotated) {
  local float room[64];
  const int lane = get_local_id(0);
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
           format, head_dim, rotated, head);
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

// Key `index` of the view: its slot and its score. `own`: the key of the last one, as the cache
// would give it, where it may not be there yet; else null.
float score_of(View view, long index, Head sinks, Head ring, long slots, int format, int head_dim,
               local const float* query, local const float* sink_query, float scale, float softcap,
               float slope, long position, long cache_position, local const float* own,
               long* slot_out) {
  const bool is_sink = index < view.n_sinks;
  const long key = is_sink ? view.low + index : view.oldest + (index - view.n_sinks);
  const long slot = is_sink ? key : key % slots;
  global const uchar* keys = is_sink ? sinks.keys : ring.keys;
  global const uchar* scales = is_sink ? sinks.key_scales : ring.key_scales;
  local const float* q = is_sink ? sink_query : query;
  const long tile = slot / TILE;
  const int lane = slot % TILE;
  const int n_blocks = (head_dim + 31) / 32;
  float dot = 0;
  const bool is_own = own != 0 && index == view.n - 1;
  for (int d = 0; is_own && d < head_dim; ++d) dot = fma(q[d], own[d], dot);
  for (int b = 0; !is_own && b < n_blocks; ++b) {
    const float of_block =
        format == FORMAT_Q8_0
            ? vload_half((tile * n_blocks + b) * TILE + lane, (global const half*)scales)
            : 1.0f;
    const int end = min(head_dim, b * 32 + 32);
    for (int d = b * 32; d < end; ++d)
      dot = fma(q[d], element(keys, (tile * head_dim + d) * TILE + lane, format) * of_block, dot);
  }
  float score = dot * scale;
  if (softcap > 0) score = softcap * tanh(score / softcap);
  if (slope != 0) score -= slope * (float)((is_sink ? cache_position : position) - key);
  *slot_out = slot;
  return score;
}

#define ATTENTION_ARGUMENTS                                                                      \
  global const float *q, global const float *sink_q, int first_row, int n_heads, int group,      \
      int head_dim, global const long *positions, global uchar *cache, int format, Area sinks,   \
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
  for (int i = lane; i < head_dim; i += 64) {                                                   \
    query[i] = q[(row * n_heads + head) * head_dim + i];                                        \
    sink_query[i] = sink_q[(row * n_heads + head) * head_dim + i];                              \
  }                                                                                             \
  barrier(CLK_LOCAL_MEM_FENCE)

#define MOST_DIMS 8  // of a work-item: heads of up to 512

// A part of a row's and head's softmax: blocks of 64 keys, every n_splits-th of them. Leaves the
// maximum, the denominator and the weighted values. A split beyond n_splits leaves nothing's.
void attend_part(View view, Head sinks, Head ring, long slots_of_ring, int format, int head_dim,
                 local const float* query, local const float* sink_query,
                 local const float* own_key, local const float* own_value, float scale,
                 float softcap, float slope, long position, long cache_position, int split,
                 int n_splits, local float* room, local float* weights, local long* slots,
                 global float* part) {
  const int lane = get_local_id(0);
  const int n_blocks = (head_dim + 31) / 32;
  float maximum = -INFINITY;
  float denominator = 0;
  float acc[MOST_DIMS];
  for (int i = 0; i < MOST_DIMS; ++i) acc[i] = 0;
  const long end = split < n_splits ? view.n : 0;
  for (long first = (long)split * 64; first < end; first += (long)n_splits * 64) {
    const int n = (int)min(64L, view.n - first);
    float score = -INFINITY;
    long slot = 0;
    if (lane < n)
      score = score_of(view, first + lane, sinks, ring, slots_of_ring, format, head_dim, query,
                       sink_query, scale, softcap, slope, position, cache_position, own_key, &slot);
    const float largest = fmax(maximum, max_of_lanes(score, room, 64));
    const float shrink = exp(maximum - largest);
    const float weight = lane < n ? exp(score - largest) : 0.0f;
    maximum = largest;
    weights[lane] = weight;
    slots[lane] = first + lane < view.n_sinks ? -1 - slot : slot;
    denominator = denominator * shrink + sum_of_lanes(weight, room, 64);
    const int n_stored = own_key != 0 && first + n == view.n ? n - 1 : n;
    for (int i = 0; i < MOST_DIMS; ++i) {
      const int d = lane + i * 64;
      if (d >= head_dim) break;
      float sum = acc[i] * shrink;
      for (int j = 0; j < n_stored; ++j) {
        const bool is_sink = slots[j] < 0;
        const long s = is_sink ? -1 - slots[j] : slots[j];
        float value = element(is_sink ? sinks.values : ring.values, s * head_dim + d, format);
        if (format == FORMAT_Q8_0)
          value *= vload_half(s * n_blocks + d / 32,
                              (global const half*)(is_sink ? sinks.value_scales
                                                           : ring.value_scales));
        sum = fma(weights[j], value, sum);
      }
      acc[i] = n_stored < n ? fma(weights[n_stored], own_value[d], sum) : sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (lane == 0) part[0] = maximum, part[1] = denominator;
  for (int i = 0; i < MOST_DIMS; ++i) {
    const int d = lane + i * 64;
    if (d < head_dim) part[2 + d] = acc[i];
  }
}

// parts [rows, heads, n_splits, head_dim + 2], of which the cache's own number is used.
kernel void attend(ATTENTION_ARGUMENTS, int n_splits, int own_splits, int part_row,
                   global float* parts, local float* query, local float* sink_query) {
  local float room[64];
  local float weights[64];
  local long slots[64];
  LOAD_QUERY;
  const int split = get_group_id(0);
  attend_part(view, sink_head, ring_head, ring.slots, format, head_dim, query, sink_query, 0, 0,
              scale, softcap, slope, position, cache_position, split, own_splits, room, weights,
              slots,
              parts + (((part_row + (long)get_group_id(2)) * n_heads + head) * n_splits + split) *
                          (head_dim + 2));
}

// Up to four streams' caches.
typedef struct {
  Area sinks, ring;
  long n_sinks, window, sink_reach;
  int format, n_splits;
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

void round_as_stored(local float* x, int head_dim, int format, local ushort* half_room) {
  const int lane = get_local_id(0);
  if (format == FORMAT_Q8_0) {
    for (int b = lane; b * 32 < head_dim; b += 64)
      round_block(x + b * 32, min(32, head_dim - b * 32), half_room + lane);
    return;
  }
  for (int i = lane; i < head_dim; i += 64) {
    if (format == FORMAT_F16) {
      vstore_half_rte(x[i], 0, (local half*)(half_room + lane));
      x[i] = vload_half(0, (local const half*)(half_room + lane));
    }
    if (format == FORMAT_BF16) x[i] = as_float((uint)to_bfloat(x[i]) << 16);
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
  local float room[64];
  local float weights[64];
  local long slots[64];
  local ushort half_room[64];
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
    store_kv(is_sink ? sinks : ring, is_sink ? position : position % place.ring.slots, place.format,
             head_dim, own_key, own_value);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  round_as_stored(own_key, head_dim, place.format, half_room);
  round_as_stored(own_value, head_dim, place.format, half_room);
  barrier(CLK_LOCAL_MEM_FENCE);
  const View view =
      view_of(position, cache_position, place.n_sinks, place.window, place.sink_reach);
  attend_part(view, sinks, ring, place.ring.slots, place.format, head_dim, query, sink_query,
              own_key, own_value, scale, softcap, has_slopes ? slopes[head] : 0.0f, position,
              cache_position, split, place.n_splits, room, weights, slots,
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
              factors, denominators);
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = get_local_id(0); i < width; i += 64)
    out[row * width + i] = joined(parts, n_splits, head_dim, factors, denominators, i);
}

// For study: all scores of one row, [heads, most], sinks first.
kernel void score(ATTENTION_ARGUMENTS, long most, global float* scores, local float* query,
                  local float* sink_query) {
  LOAD_QUERY;
  for (long i = lane; i < view.n; i += 64) {
    long slot = 0;
    scores[head * most + i] =
        score_of(view, i, sink_head, ring_head, ring.slots, format, head_dim, query, sink_query,
                 scale, softcap, slope, position, cache_position, 0, &slot);
  }
}
