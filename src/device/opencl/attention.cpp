// Attention of an OpenCL device: a launch for each cache of the step.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "device/opencl/kv_memory.h"
#include "device/opencl/opencl_operations.h"
#include "device/opencl/sources.h"

namespace runnel::opencl {
namespace {

constexpr std::size_t kAttentionGroup = 256;  // work-items of attention.cl
constexpr std::size_t kManyRowsGroup = 64;    // of its kernel for a chunk, which
constexpr std::size_t kSplitsOfGroup = 4;     // takes so many splits
constexpr std::size_t kTogether = 4;          // streams
constexpr std::int64_t kKeysOfSplit = 64;

// As attention.cl has it.
struct Area {
  cl_long offset, head_bytes, value_bytes, scale_bytes, slots;
};

Area area_of(const KvCache::Place& place) {
  return {static_cast<cl_long>(place.offset), static_cast<cl_long>(place.head_bytes),
          static_cast<cl_long>(place.element_bytes), static_cast<cl_long>(place.scale_bytes),
          place.n_tiles * kernels::kTile};
}

const Buffer& memory_of(const KvCache::LayerPlace& place) {
  return static_cast<const OpenClKvMemory*>(place.memory)->buffer();
}

// A number of parts that a layer's attention is cut into, whatever a step holds.
std::int64_t splits_of(const LayerSight& sight, std::int64_t most) {
  if (sight.window >= kUnbounded) return most;
  return std::clamp<std::int64_t>((sight.sinks + sight.window) / kKeysOfSplit + 1, 1, most);
}

}  // namespace

std::vector<OpenClOperations::Segment> OpenClOperations::segments() const {
  std::vector<Segment> all;
  for (std::size_t i = 0; i < n_rows(); ++i) {
    if (all.empty() || all.back().cache != step_.rows[i].cache)
      all.push_back({i, 0, step_.rows[i].cache});
    ++all.back().n;
  }
  return all;
}

OpenClOperations::Turns OpenClOperations::turns_of(const AttentionLayer& layer) const {
  const bool is_rotated = layer.rope != RopeStyle::kNone;
  return {is_rotated, is_rotated ? step_.angles[size(layer.angles)].n_pairs : 0,
          is_rotated && std::any_of(step_.rows.begin(), step_.rows.end(), [](const StepRow& row) {
            return row.position != row.cache_position;
          })};
}

std::size_t OpenClOperations::n_splits(int cache_layer) const {
  std::int64_t most = 1;
  for (const StepRow& row : step_.rows)
    most = std::max(most, splits_of(row.cache->sight(cache_layer), kMostSplits));
  return size(most);
}

// Of attention's parts, of one row.
std::size_t OpenClOperations::part_bytes(const AttentionLayer& layer) const {
  return size(layer.n_heads) * n_splits(layer.cache_layer) * size(layer.head_dim + 2) *
         sizeof(float);
}

Program& OpenClOperations::attention_program(const AttentionLayer& layer, const KvCache& cache) {
  return context_.program(
      kAttentionSource, fmt::format("-DFORMAT={} -DMOST_DIMS={}", static_cast<int>(cache.format()),
                                    (layer.head_dim + 63) / 64));
}

// Each stream of the step has one token.
bool OpenClOperations::is_decoding() const {
  for (std::size_t i = 1; i < n_rows(); ++i) {
    if (step_.rows[i].cache == step_.rows[i - 1].cache) return false;
  }
  return true;
}

void OpenClOperations::rotate_and_store(const AttentionLayer& layer, Rows q, Rows k, Rows v) {
  if (recorded_.is_replayed()) return;
  Rotation rotation = {layer, q, k, v};
  if (layer.normalizes_all_heads) {
    const auto normalize_all = [&](const NormWeights*& norm, Rows x) {
      if (norm != nullptr)
        normalize({norm, Norm::kRms, layer.norm_epsilon}, n_rows(), of(x), x.width, of(x));
      norm = nullptr;
    };
    normalize_all(rotation.layer.q_norm, q);
    if (layer.has_keys) normalize_all(rotation.layer.k_norm, k);
  }
  const bool is_joined = is_decoding() && !visitor_ && layer.has_keys &&
                         layer.rotated_weights.empty() &&
                         n_rows() * part_bytes(layer) <= kPartBytes;
  if (is_joined) {
    waiting_ = rotation;
  } else {
    rotate_now(rotation);
  }
}

void OpenClOperations::rotate_now(const Rotation& rotation) {
  const auto& [layer, q, k, given_v] = rotation;
  const Rows v = layer.has_values ? given_v : k;  // which this kernel does not change
  q_width_ = q.width;
  const auto [is_rotated, n_pairs, is_twice] = turns_of(layer);
  const auto angle = [&, rotates = is_rotated, table = layer.angles](int which) -> const Buffer& {
    return rotates ? angles(table, which) : positions_;
  };
  const bool is_weighted = !layer.rotated_weights.empty();
  const bool mirrors = is_weighted && is_twice;
  const std::size_t head_floats = size(layer.head_dim) * sizeof(float);
  const NormWeights* const q_norm = layer.q_norm;
  const NormWeights* const k_norm = layer.k_norm;
  for (const Segment& s : segments()) {
    const KvCache::LayerPlace place = s.cache->place(layer.cache_layer);
    Kernel& kernel = attention_program(layer, *s.cache).kernel("rotate_and_store");
    kernel.set(
        of(q), sink_q_, of(k), of(v), static_cast<cl_int>(s.first), cl_int{layer.n_heads},
        cl_int{layer.n_kv_heads}, cl_int{layer.head_dim}, cl_int{static_cast<int>(layer.rope)},
        cl_int{n_pairs}, angle(0), angle(1), angle(is_twice ? 2 : 0), angle(is_twice ? 3 : 1),
        angle(mirrors ? 4 : 0), angle(mirrors ? 5 : 1),
        is_weighted ? weights_.vector(layer.rotated_weights) : positions_, cl_int{is_weighted},
        positions_, query_scales_, layer.clamp,
        q_norm != nullptr ? weights_.vector(q_norm->weight) : positions_, cl_int{q_norm != nullptr},
        k_norm != nullptr ? weights_.vector(k_norm->weight) : positions_, cl_int{k_norm != nullptr},
        layer.norm_epsilon, cl_int{layer.normalizes_values}, memory_of(place), area_of(place.sinks),
        area_of(place.ring), cl_long{s.cache->sight(layer.cache_layer).sinks},
        LocalBytes{head_floats}, LocalBytes{head_floats});
    const int n_kv_heads = layer.has_keys ? layer.n_kv_heads : 0;
    context_.launch(kernel, {size(layer.n_heads + n_kv_heads), s.n, 1}, kAttentionGroup);
  }
}

template <typename... More>
void OpenClOperations::set_attention(Kernel& kernel, const AttentionLayer& layer, Rows q,
                                     const Segment& s, int first_row, const More&... more) {
  const KvCache::LayerPlace place = s.cache->place(layer.cache_layer);
  const LayerSight& sight = s.cache->sight(layer.cache_layer);
  const std::size_t head_floats = size(layer.head_dim) * sizeof(float);
  kernel.set(of(q), sink_q_, cl_int{first_row}, cl_int{layer.n_heads},
             cl_int{layer.n_heads / layer.n_kv_heads}, cl_int{layer.head_dim}, positions_,
             memory_of(place), area_of(place.sinks), area_of(place.ring), cl_long{sight.sinks},
             cl_long{sight.window}, cl_long{sight.sink_reach}, layer.scale, layer.softcap,
             layer.alibi_slopes.empty() ? positions_ : weights_.vector(layer.alibi_slopes),
             cl_int{!layer.alibi_slopes.empty()}, more..., LocalBytes{head_floats},
             LocalBytes{head_floats});
}

void OpenClOperations::attend(const AttentionLayer& layer, Rows q, const Residual& residual) {
  if (recorded_.is_replayed()) return;
  const std::size_t row_bytes = part_bytes(layer);
  const bool keeps_parts = n_rows() * row_bytes <= kPartBytes;
  const std::size_t n_bytes = keeps_parts ? n_rows() * row_bytes : std::max(kPartBytes, row_bytes);
  if (parts_.bytes() < n_bytes) {
    recorded_.forget();
    parts_ = context_.take(n_bytes);
  }
  if (waiting_) {
    attend_together(*std::exchange(waiting_, std::nullopt));
  } else {
    for (const Segment& segment : segments()) {
      attend_segment(layer, q, segment, keeps_parts);
      if (visitor_) report_attention(layer, q, segment);
    }
  }
  Source source = {.x = &heads_, .width = q.width};
  if (keeps_parts) {
    source = {.kind = Source::Kind::kParts,
              .x = &parts_,
              .width = q.width,
              .attention = &layer,
              .n_splits = n_splits(layer.cache_layer)};
  }
  multiply_into(&source, *layer.output, residual);
}

void OpenClOperations::attend_segment(const AttentionLayer& layer, Rows q, const Segment& s,
                                      bool keeps_parts) {
  Program& program = attention_program(layer, *s.cache);
  const std::size_t n_parts = n_splits(layer.cache_layer);
  const auto own = splits_of(s.cache->sight(layer.cache_layer), kMostSplits);
  const std::size_t at_once =
      keeps_parts ? s.n : std::clamp<std::size_t>(kPartBytes / part_bytes(layer), 1, s.n);
  const bool has_sinks = !layer.sink_logits.empty();
  for (std::size_t first = 0; first < s.n; first += at_once) {
    const std::size_t n = std::min(at_once, s.n - first);
    const auto first_row = static_cast<cl_int>(s.first + first);
    Kernel& attend = program.kernel("attend");
    set_attention(attend, layer, q, s, first_row, static_cast<cl_int>(n_parts),
                  static_cast<cl_int>(own), keeps_parts ? first_row : cl_int{0}, parts_);
    context_.launch(attend,
                    {(n_parts + kSplitsOfGroup - 1) / kSplitsOfGroup, size(layer.n_heads), n},
                    kManyRowsGroup);
    if (keeps_parts) continue;
    Kernel& merge = program.kernel("merge");
    merge.set(parts_, first_row, cl_int{layer.n_heads}, static_cast<cl_int>(n_parts),
              cl_int{layer.head_dim}, row_sinks_,
              has_sinks ? weights_.vector(layer.sink_logits) : row_sinks_, cl_int{has_sinks},
              heads_, LocalBytes{size(layer.n_heads) * (2 * n_parts + 1) * sizeof(float)});
    context_.launch(merge, {n, 1, 1}, kAttentionGroup);
  }
}

// Rotation, cache and attention of streams of one token each; four of one format in a launch.
void OpenClOperations::attend_together(const Rotation& rotation) {
  struct Place {
    Area sinks, ring;
    cl_long n_sinks, window, sink_reach;
    cl_int n_splits;
  };
  const auto& [layer, q, k, given_v] = rotation;
  const Rows v = layer.has_values ? given_v : k;
  const auto [is_rotated, n_pairs, is_twice] = turns_of(layer);
  const auto angle = [&, rotates = is_rotated, table = layer.angles](int which) -> const Buffer& {
    return rotates ? angles(table, which) : positions_;
  };
  const auto norm = [&](const NormWeights* weights) -> const Buffer& {
    return weights != nullptr ? weights_.vector(weights->weight) : positions_;
  };
  const LocalBytes head = {size(layer.head_dim) * sizeof(float)};
  const std::size_t n_parts = n_splits(layer.cache_layer);
  for (std::size_t first = 0, n = 0; first < n_rows(); first += n) {
    const KvCache& cache = *step_.rows[first].cache;
    n = 1;
    while (n < std::min(kTogether, n_rows() - first) &&
           step_.rows[first + n].cache->format() == cache.format())
      ++n;
    std::array<Place, kTogether> places = {};
    std::array<const Buffer*, kTogether> caches;
    for (std::size_t i = 0; i < kTogether; ++i) {
      const KvCache& own = *step_.rows[first + std::min(i, n - 1)].cache;
      const KvCache::LayerPlace place = own.place(layer.cache_layer);
      const LayerSight& sight = own.sight(layer.cache_layer);
      caches[i] = &memory_of(place);
      places[i] = {area_of(place.sinks), area_of(place.ring),
                   sight.sinks,          sight.window,
                   sight.sink_reach,     static_cast<cl_int>(splits_of(sight, kMostSplits))};
    }
    Kernel& kernel = attention_program(layer, cache).kernel("attend_alone");
    kernel.set(of(q), of(k), of(v), static_cast<cl_int>(first), cl_int{layer.n_heads},
               cl_int{layer.n_kv_heads}, cl_int{layer.head_dim},
               cl_int{static_cast<int>(layer.rope)}, cl_int{n_pairs}, angle(0), angle(1),
               angle(is_twice ? 2 : 0), angle(is_twice ? 3 : 1), positions_, query_scales_,
               layer.clamp, norm(layer.q_norm), cl_int{layer.q_norm != nullptr}, norm(layer.k_norm),
               cl_int{layer.k_norm != nullptr}, layer.norm_epsilon, cl_int{layer.normalizes_values},
               *caches[0], *caches[1], *caches[2], *caches[3], places, layer.scale, layer.softcap,
               layer.alibi_slopes.empty() ? positions_ : weights_.vector(layer.alibi_slopes),
               cl_int{!layer.alibi_slopes.empty()}, static_cast<cl_int>(n_parts), parts_, head,
               head, head, head, head);
    context_.launch(kernel, {n_parts, size(layer.n_heads), n}, kAttentionGroup);
  }
}

// All scores of a row come back, and become weights here.
void OpenClOperations::report_attention(const AttentionLayer& layer, Rows q, const Segment& s) {
  Kernel& kernel = attention_program(layer, *s.cache).kernel("score");
  const LayerSight& sight = s.cache->sight(layer.cache_layer);
  for (std::size_t i = 0; i < s.n; ++i) {
    const StepRow& row = step_.rows[s.first + i];
    const std::int64_t low = std::max<std::int64_t>(row.cache_position - sight.sink_reach, 0);
    const std::int64_t n_sinks =
        std::max<std::int64_t>(std::min<std::int64_t>(row.position, sight.sinks - 1) - low + 1, 0);
    const std::int64_t oldest = std::max<std::int64_t>(row.position - sight.window, sight.sinks);
    const std::int64_t n = n_sinks + std::max<std::int64_t>(row.position - oldest + 1, 0);
    Buffer scores = context_.take(size(n * layer.n_heads) * sizeof(float));
    set_attention(kernel, layer, q, s, static_cast<int>(s.first + i), cl_long{n}, scores);
    context_.launch(kernel, {1, size(layer.n_heads), 1}, kAttentionGroup);
    host_.resize(size(n * layer.n_heads));
    context_.read(scores, 0, std::as_writable_bytes(std::span(host_)));
    for (int head = 0; head < layer.n_heads; ++head) {
      const std::span<float> weights = std::span(host_).subspan(size(head * n), size(n));
      const float learned = layer.sink_logits.empty() ? -std::numeric_limits<float>::infinity()
                                                      : layer.sink_logits[size(head)];
      float largest = std::max(row.sink_logit, learned);
      for (const float score : weights) largest = std::max(largest, score);
      float sum = std::exp(row.sink_logit - largest) + std::exp(learned - largest);
      for (float& w : weights) sum += w = std::exp(w - largest);
      for (float& w : weights) w /= sum;
      std::vector<float> sinks(size(low), 0.0f);  // out of reach
      sinks.insert(sinks.end(), weights.begin(), weights.begin() + n_sinks);
      visitor_({.segment = row.segment,
                .token = i,
                .layer = layer.layer,
                .head = head,
                .sinks = sinks,
                .first_position = oldest,
                .window = weights.subspan(size(n_sinks))});
    }
  }
}

}  // namespace runnel::opencl
