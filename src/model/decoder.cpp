// One step of the model, from the batch to the logits.
#include "model/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "model/alibi.h"
#include "runnel/error.h"

namespace runnel {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

constexpr int kAllAngles = 0;  // of layers that see all their stream's cache
constexpr int kLocalAngles = 1;
constexpr int kRowsLookedUp = 64;  // until their pages go: some 16 of each

}  // namespace

StepSizes step_sizes(const Config& c, int max_tokens) {
  const int ffn_dim = std::max({c.ffn_dim, c.shared_ffn_dim, c.dense_ffn_dim, c.layer_input_dim});
  const DeltaNet& net = c.delta_net;
  const int delta_dim = net.conv_dim() + net.value_dim() + 2 * net.n_value_heads;
  return {.max_tokens = max_tokens,
          .dim = c.dim,
          .largest_input = std::max({c.dim, c.q_dim(), ffn_dim, c.delta_net.value_dim()}),
          .ffn_dim = ffn_dim,
          .q_dim = c.q_dim(),
          .head_dim = c.head_dim,
          .vocabulary_size = c.vocabulary_size,
          .n_experts = c.n_experts,
          .n_experts_used = c.n_experts_used,
          .mixer_dim = std::max(delta_dim, c.short_conv_width > 0 ? 3 * c.dim : 0),
          .mixed_dim = std::max(net.value_dim(), c.short_conv_width > 0 ? c.dim : 0),
          .layer_inputs_dim = c.n_layers * c.layer_input_dim};
}

// Cosines and sines of the batch's rows for one Rope, at the position in the stream and at that in
// the cache.
struct Decoder::Angles {
  std::vector<float> cosines, sines, sink_cosines, sink_sines;  // [max_tokens, n_pairs]
  std::vector<float> mirror_cosines, mirror_sines;              // or empty; see AngleTable

  Angles(const Rope& rope, int max_tokens, bool has_mirror)
      : cosines(size(rope.n_pairs()) * size(max_tokens)),
        sines(cosines),
        sink_cosines(cosines),
        sink_sines(cosines),
        mirror_cosines(has_mirror ? cosines : std::vector<float>()),
        mirror_sines(mirror_cosines) {}

  void set(const Rope& rope, int row, std::int64_t position, std::int64_t cache_position) {
    if (rope.n_pairs() == 0) return;  // no rotation
    const std::size_t at = size(row) * size(rope.n_pairs());
    rope_angles(rope, position, &cosines[at], &sines[at]);
    if (cache_position == position) return;
    rope_angles(rope, cache_position, &sink_cosines[at], &sink_sines[at]);
    if (!mirror_cosines.empty())
      rope_angles(rope, 2 * cache_position - position, &mirror_cosines[at], &mirror_sines[at]);
  }
  AngleTable table(const Rope& rope) const {
    return {rope.n_pairs(),    cosines.data(),        sines.data(),       sink_cosines.data(),
            sink_sines.data(), mirror_cosines.data(), mirror_sines.data()};
  }
};

Decoder::Decoder(const Config& config, const Weights& weights, ThreadPool& threads,
                 std::span<const Stage> stages, int max_tokens)
    : config_(config), weights_(weights), threads_(threads), max_tokens_(max_tokens) {
  int end_layer = 0;
  const int parallel_dim = config.is_parallel ? config.dim : 0;
  const int gate_dim = config.has_output_gate ? config.q_dim() : 0;
  const int local_q_dim = config.n_heads * config.local_head_dim;
  for (const Stage& stage : stages) {
    auto operations = stage.device->operations(step_sizes(config, max_tokens));
    Operations& of = *operations;
    parts_.push_back({.end_layer = end_layer += stage.n_layers,
                      .operations = std::move(operations),
                      .x = of.rows(config.dim),
                      .h = of.rows(parallel_dim),
                      .ffn_h = of.rows(parallel_dim),
                      .q = of.rows(config.q_dim()),
                      .q_and_gate = of.rows(2 * gate_dim),
                      .gate = of.rows(gate_dim),
                      .local_q = of.rows(local_q_dim),
                      .k = of.rows(config.kv_dim()),
                      .v = of.rows(config.kv_dim()),
                      .inputs = of.rows(config.n_layers * config.layer_input_dim)});
  }
  const int largest = std::max(config.dim, config.n_layers * config.layer_input_dim);
  if (parts_.size() > 1) handed_over_.resize(size(largest) * size(max_tokens));
  rows_.reserve(size(max_tokens));
  wanted_rows_.reserve(size(max_tokens));
  for (const Rope* rope : {&config.rope, &config.local_rope}) {
    angles_.emplace_back(*rope, max_tokens, config.normalizes_rotated);
    angle_tables_.push_back(angles_.back().table(*rope));
  }
  if (config.max_alibi_bias > 0)
    alibi_slopes_ = alibi_slopes(config.n_heads, config.max_alibi_bias);
}

Decoder::~Decoder() = default;

void Decoder::observe_attention(AttentionVisitor visitor) {
  is_observed_ = static_cast<bool>(visitor);
  for (Part& part : parts_) part.operations->observe_attention(visitor);
}

void Decoder::step(std::span<const Segment> batch, const LogitsVisitor& on_logits) {
  plan(batch);
  embed();
  for (int i = 0; i < config_.n_layers; ++i) {
    if (i == part_->end_layer) hand_over();
    layer(i);
    check_numbers(i);
  }
  logits(on_logits);
  check_numbers(config_.n_layers);
  for (const Segment& segment : batch)
    segment.cache->advance(static_cast<int>(segment.tokens.size()));
}

// What ran last is named: the layer, or the logits after the last one.
void Decoder::check_numbers(int layer) const {
  if (!part_->operations->met_nonfinite()) return;
  const std::string place =
      layer < config_.n_layers ? fmt::format("layer {}", layer) : std::string("the logits");
  throw Error(fmt::format(
      "{}: want finite numbers, found infinity or none: the model's weights are damaged", place));
}

void Decoder::plan(std::span<const Segment> batch) {
  rows_.clear();
  wanted_rows_.clear();
  for (std::size_t s = 0; s < batch.size(); ++s) {
    KvCache& cache = *batch[s].cache;
    cache.reserve(static_cast<int>(batch[s].tokens.size()));
    const float sink_logit =
        batch[s].softmax == Softmax::kOffByOne ? 0.0f : -std::numeric_limits<float>::infinity();
    for (std::size_t t = 0; t < batch[s].tokens.size(); ++t) {
      const std::int64_t position = cache.position() + static_cast<std::int64_t>(t);
      const Segment::Logits logits = batch[s].logits;
      const bool is_last = t + 1 == batch[s].tokens.size();
      if (logits == Segment::Logits::kAll || (logits != Segment::Logits::kNone && is_last))
        wanted_rows_.push_back(rows_.size());
      const std::int64_t cache_position = cache.policy().cache_position(position);
      rows_.push_back({batch[s].tokens[t], s, &cache, position, cache_position, sink_logit,
                       query_scale(cache_position),
                       logits == Segment::Logits::kLast ? batch[s].row : nullptr,
                       logits == Segment::Logits::kLater && is_last ? batch[s].state : nullptr});
    }
  }
  threads_.run(static_cast<int>(rows_.size()), [&](int i, int) { set_angles(i); });
  part_ = &parts_.front();
  const bool wants_all = wanted_rows_.size() == rows_.size() && !leaves_states();
  for (Part& part : parts_) part.operations->begin({rows_, angle_tables_, wants_all});
}

void Decoder::set_angles(int i) {
  const StepRow& row = rows_[size(i)];
  const std::int64_t origin = row.cache->origin();
  const bool is_long = row.cache->context() > config_.short_context;
  const Rope& rope = config_.short_context > 0 && is_long ? config_.long_rope : config_.rope;
  angles_[kAllAngles].set(rope, i, origin + row.position, origin + row.cache_position);
  angles_[kLocalAngles].set(config_.local_rope, i, origin + row.position,
                            origin + row.cache_position);
}

// Where layers have windows of their own, tokens stand at other places inside each layer's cache.
void Decoder::place_rows(int index) {
  const auto place_in = [&](const StepRow& row) {
    return row.cache->sight(index).stream.cache_position(row.position);
  };
  if (std::all_of(rows_.begin(), rows_.end(),
                  [&](const StepRow& row) { return place_in(row) == row.cache_position; }))
    return;
  threads_.run(static_cast<int>(rows_.size()), [&](int i, int) {
    StepRow& row = rows_[size(i)];
    const std::int64_t place = place_in(row);
    if (place == row.cache_position) return;
    row.cache_position = place;
    row.query_scale = query_scale(place);
    set_angles(i);
  });
}

float Decoder::query_scale(std::int64_t cache_position) const {
  if (config_.temperature_scale == 0) return 1;
  const auto lengths = static_cast<double>(cache_position / config_.temperature_length);
  return static_cast<float>(1 +
                            static_cast<double>(config_.temperature_scale) * std::log1p(lengths));
}

void Decoder::embed() {
  operations().embed(weights_.embeddings, config_.embedding_scale, part_->x);
  if (config_.layer_input_dim > 0) {
    operations().layer_inputs(weights_.layer_inputs, config_.norm_epsilon, part_->x, part_->inputs);
  }
  n_looked_up_ += static_cast<int>(rows_.size());
  if (n_looked_up_ < kRowsLookedUp) return;
  n_looked_up_ = 0;
  release_looked_up(weights_);
}

// The next stage goes on with the residual stream, and what tokens have for its layers.
void Decoder::hand_over() {
  Part& last = *part_++;
  last.operations->read(last.x, handed_over_.data());
  operations().write(part_->x, handed_over_.data());
  if (config_.layer_input_dim == 0) return;
  last.operations->read(last.inputs, handed_over_.data());
  operations().write(part_->inputs, handed_over_.data());
}

void Decoder::layer(int index) {
  if (config_.is_parallel) return parallel_layer(index);
  const LayerWeights& w = weights_.layers[size(index)];
  attention(index, {part_->x, norm(w.attention_norm)});
  feed_forward(index, {part_->x, norm(w.ffn_norm)});
  if (w.input.gate.weight) add_layer_input(index);
}

// Both branches leave the residual stream where the layer begins.
void Decoder::parallel_layer(int index) {
  const LayerWeights& w = weights_.layers[size(index)];
  operations().normalize(norm(w.attention_norm), part_->x, part_->h);
  if (w.ffn_norm) operations().normalize(norm(w.ffn_norm), part_->x, part_->ffn_h);
  attention(index, {part_->h, {}});
  feed_forward(index, {w.ffn_norm ? part_->ffn_h : part_->h, {}});
}

void Decoder::attention(int index, const Input& input) {
  const LayerWeights& w = weights_.layers[size(index)];
  const Residual out = residual(w.attention_post_norm);
  if (config_.mixer(index) == Mixer::kDeltaNet)
    return operations().delta_net(index, config_.delta_net, w.delta_net, config_.norm_epsilon,
                                  input, out);
  if (config_.mixer(index) == Mixer::kShortConv)
    return operations().short_conv(index, config_.short_conv_width, w.short_conv, input, out);
  place_rows(index);
  const AttentionLayer layer = attention_layer(index);
  const Heads heads = config_.heads(index);
  const Rows q = heads.head_dim == config_.head_dim ? part_->q : part_->local_q;
  const Rows projected = config_.has_output_gate ? part_->q_and_gate : q;
  const Rows k = {part_->k.id, heads.kv_dim()};
  const Rows v = {part_->v.id, heads.kv_dim()};
  const std::array products = {Product{&w.q, projected}, Product{&w.k, k}, Product{&w.v, v}};
  const std::size_t n_products = !layer.has_keys ? 1 : layer.has_values ? 3 : 2;
  operations().multiply(input, std::span(products).first(n_products));
  if (config_.has_output_gate) operations().split_gates(layer, projected, q);
  operations().rotate_and_store(layer, q, k, v);
  if (index + 1 == config_.n_layers && !is_observed_) keep_wanted_rows();
  if (!rows_.empty()) operations().attend(layer, q, out);
}

void Decoder::feed_forward(int index, const Input& input) {
  if (rows_.empty()) return;
  const LayerWeights& w = weights_.layers[size(index)];
  const FfnLayer layer = {config_.activation, config_.is_gated};
  const Residual out = residual(w.ffn_post_norm, w.input.gate.weight ? 1 : w.output_scale);
  if (w.experts.empty()) return operations().feed_forward(layer, w.ffn, input, out);
  operations().experts(
      {&w.router, w.experts, config_.n_experts_used, layer, config_.has_sigmoid_router,
       w.router_bias, w.shared.up.weight ? &w.shared : nullptr,
       w.shared_gate.weight ? &w.shared_gate : nullptr,
       config_.has_dense_beside ? &w.beside : nullptr, config_.has_dense_beside ? &w.ffn : nullptr,
       config_.norm_epsilon},
      input, out);
}

void Decoder::add_layer_input(int index) {
  if (rows_.empty()) return;
  const LayerWeights& w = weights_.layers[size(index)];
  operations().add_layer_input(w.input, index * config_.layer_input_dim, part_->inputs,
                               residual(w.input_post_norm, w.output_scale));
}

// The step without the rows whose logits nobody wants: after the last layer's keys and values are
// stored, nothing depends on them.
void Decoder::keep_wanted_rows() {
  if (wanted_rows_.size() == rows_.size()) return;
  for (std::size_t to = 0; to < wanted_rows_.size(); ++to) rows_[to] = rows_[wanted_rows_[to]];
  rows_.resize(wanted_rows_.size());
  operations().keep(wanted_rows_, rows_);
  for (std::size_t i = 0; i < wanted_rows_.size(); ++i) wanted_rows_[i] = i;
}

bool Decoder::leaves_states() const {
  return std::any_of(rows_.begin(), rows_.end(), [](const StepRow& row) { return row.state; });
}

// States stay with who wants logits later, and their rows leave the step.
void Decoder::leave_states() {
  if (!leaves_states()) return;
  const std::size_t dim = size(config_.dim);
  if (handed_over_.size() < rows_.size() * dim) handed_over_.resize(rows_.size() * dim);
  operations().read(part_->x, handed_over_.data());
  wanted_rows_.clear();
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].state)
      std::copy_n(&handed_over_[i * dim], dim, rows_[i].state);
    else
      wanted_rows_.push_back(i);
  }
  keep_wanted_rows();
}

void Decoder::logits(const LogitsVisitor& on_logits) {
  keep_wanted_rows();
  leave_states();
  if (rows_.empty()) return;
  const Input input = {part_->x, norm(weights_.output_norm)};
  operations().logits(input, weights_.output, config_.final_softcap,
                      [&](std::size_t i, std::span<const float> logits) {
                        const StepRow& row = rows_[i];
                        on_logits(row.segment, size(row.position - row.cache->position()), logits);
                      });
}

void Decoder::logits_of(std::span<const float> state, LogitsRow& row) {
  rows_.assign(1, StepRow{.logits = &row});
  wanted_rows_.assign(1, 0);
  part_ = &parts_.back();
  operations().begin({rows_, angle_tables_, false});
  operations().write(part_->x, state.data());
  logits({});
  check_numbers(config_.n_layers);
}

Normalization Decoder::norm(const NormWeights& weights) const {
  return {weights ? &weights : nullptr, config_.norm, config_.norm_epsilon};
}

Residual Decoder::residual(const NormWeights& post_norm, float sum_scale) const {
  return {part_->x, norm(post_norm), config_.residual_scale, sum_scale};
}

AttentionLayer Decoder::attention_layer(int index) const {
  const Config& c = config_;
  const LayerWeights& w = weights_.layers[size(index)];
  const bool is_local = c.local_window(index) > 0;
  const Heads heads = c.heads(index);
  return {.layer = index,
          .cache_layer = c.key_layer(index),
          .has_keys = c.has_keys(index),
          .has_values = static_cast<bool>(w.v.weight),
          .n_heads = heads.n_heads,
          .n_kv_heads = heads.n_kv_heads,
          .head_dim = heads.head_dim,
          .rope = c.is_rotated(index) ? c.rope.style : RopeStyle::kNone,
          // with LongRoPE all layers have one rotation
          .angles = is_local && c.short_context == 0 ? kLocalAngles : kAllAngles,
          .q_norm = w.q_norm ? &w.q_norm : nullptr,
          .k_norm = w.k_norm ? &w.k_norm : nullptr,
          .normalizes_all_heads = c.normalizes_all_heads,
          .normalizes_values = c.normalizes_values,
          .rotated_weights = w.rotated_weights,
          .norm_epsilon = c.norm_epsilon,
          .clamp = c.qkv_clamp,
          .scale = c.attention_scale > 0 ? c.attention_scale
                                         : 1.0f / std::sqrt(static_cast<float>(heads.head_dim)),
          .softcap = c.attention_softcap,
          .alibi_slopes = alibi_slopes_,
          .gate = c.has_output_gate ? part_->gate : Rows{},
          .sink_logits = w.sink_logits,
          .output = &w.output};
}

}  // namespace runnel
