// Rows, products, the feed-forward half and logits.
#include "device/opencl/opencl_operations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "device/opencl/kv_memory.h"
#include "device/opencl/sources.h"
#include "kernels/pack/dequantize.h"

namespace runnel::opencl {
namespace {

constexpr std::size_t kLogitRows = 32;  // rows of logits computed together
constexpr std::size_t kAngleKinds = 6;
constexpr std::size_t kMostRecordedRows = 64;

int kind_of(const Normalization& norm) {
  if (norm.weights == nullptr) return 0;
  return norm.kind == Norm::kRms ? 1 : 2;
}

}  // namespace

// Calls take(buffer, bytes) for all that a step needs.
template <typename Take>
void OpenClOperations::lay_out(const StepSizes& s, Take take) {
  const std::size_t n = size(s.max_tokens);
  const std::size_t n_choices = n * size(std::max(1, s.n_experts_used));
  const auto floats = [&](Buffer OpenClOperations::*buffer, std::size_t count) {
    take(buffer, count * sizeof(float));
  };
  take(&OpenClOperations::positions_, n * 2 * sizeof(cl_long));
  floats(&OpenClOperations::row_sinks_, n);
  floats(&OpenClOperations::query_scales_, n);
  floats(&OpenClOperations::sink_q_, n * size(s.q_dim));
  floats(&OpenClOperations::heads_, n * size(s.q_dim));
  const std::size_t n_chunks = n_choices * size((s.largest_input + 31) / 32);
  take(&OpenClOperations::quants_, n_chunks * 32);
  floats(&OpenClOperations::scales_, n_chunks);
  take(&OpenClOperations::sums_, n_chunks * 2 * sizeof(cl_short));
  floats(&OpenClOperations::floats_, n_chunks * 32);
  floats(&OpenClOperations::gate_, n_choices * size(s.ffn_dim));
  floats(&OpenClOperations::up_, n_choices * size(s.ffn_dim));
  floats(&OpenClOperations::update_, n * size(s.dim));
  floats(&OpenClOperations::logits_, std::min(n, kLogitRows) * size(s.vocabulary_size));
  take(&OpenClOperations::parts_, 64);
  floats(&OpenClOperations::table_rows_, n * size(s.layer_inputs_dim));
  if (s.n_experts == 0) return;
  floats(&OpenClOperations::router_, n * size(s.n_experts));
  take(&OpenClOperations::chosen_, n_choices * sizeof(cl_int));
  floats(&OpenClOperations::shares_, n_choices);
  floats(&OpenClOperations::expert_out_, n_choices * size(s.dim));
}

OpenClOperations::OpenClOperations(Context& context, WeightStore& weights, Tuning& tuning,
                                   const StepSizes& sizes)
    : context_(context),
      weights_(weights),
      tuning_(tuning),
      sampler_(context),
      recorded_(context),
      sizes_(sizes) {
  lay_out(sizes, [&](Buffer OpenClOperations::*buffer, std::size_t n_bytes) {
    this->*buffer = context_.take(n_bytes);
  });
}

std::uint64_t OpenClOperations::bytes_of(const StepSizes& sizes) {
  const std::size_t n_parts = size(sizes.max_tokens) * size(sizes.q_dim) * 2 * kMostSplits;
  std::uint64_t all = std::min(kPartBytes, n_parts * sizeof(float));
  lay_out(sizes, [&](Buffer OpenClOperations::*, std::size_t n_bytes) { all += n_bytes; });
  // A stream's logits, and where its token is sampled.
  all += size(sizes.vocabulary_size) * sizeof(float) + TokenSampler::kBytesOfStream;
  // The decoder's rows: the residual stream and its norms, queries, keys, values and angles.
  const std::size_t widths = 3 * size(sizes.dim) + 4 * size(sizes.q_dim) + 4 * size(sizes.head_dim);
  return all + size(sizes.max_tokens) * widths * sizeof(float);
}

Rows OpenClOperations::rows(int width) {
  rows_.push_back(context_.take(size(sizes_.max_tokens) * size(width) * sizeof(float)));
  widths_.push_back(width);
  return {static_cast<int>(rows_.size()) - 1, width};
}

void OpenClOperations::begin(const Step& step) {
  began_ = std::chrono::steady_clock::now();
  step_ = step;
  waiting_.reset();  // of a step that failed
  has_angles_.assign(step.angles.size() * kAngleKinds, false);
  angles_.resize(has_angles_.size());
  write_rows();
  if (!recorded_.begin(key_of_step())) return;
  for (std::size_t i = 0; i < recorded_.angles().size(); ++i) {
    if (recorded_.angles()[i])
      angles(static_cast<int>(i / kAngleKinds), static_cast<int>(i % kAngleKinds));
  }
}

// What the launches of a step depend on: the caches, and whether they evict. Empty: it is none of
// single tokens that goes on to the logits of all.
RecordedSteps::Key OpenClOperations::key_of_step() const {
  if (!step_.wants_all_logits || visitor_ || n_rows() > kMostRecordedRows || !is_decoding())
    return {};
  RecordedSteps::Key key;
  bool is_twice = false;
  for (const StepRow& row : step_.rows) {
    // The first layer is this device's, and so is its part of a cache.
    key.push_back(static_cast<const OpenClKvMemory*>(row.cache->place(0).memory)->id());
    is_twice |= row.position != row.cache_position;
  }
  key.push_back(is_twice ? 1 : 0);
  return key;
}

void OpenClOperations::write_rows() {
  std::vector<cl_long> positions;
  std::vector<float> scales;
  host_.clear();
  for (const StepRow& row : step_.rows) {
    positions.push_back(row.position);
    positions.push_back(row.cache_position);
    scales.push_back(row.query_scale);
    host_.push_back(row.sink_logit);
  }
  context_.write_later(positions_, std::as_bytes(std::span(positions)));
  context_.write_later(query_scales_, std::as_bytes(std::span(scales)));
  context_.write_later(row_sinks_, std::as_bytes(std::span(host_)));
}

// The rows move to where they are wanted one by one: each goes to the place of one that has left.
void OpenClOperations::keep(std::span<const std::size_t> kept, std::span<const StepRow> rows) {
  if (waiting_) rotate_now(*std::exchange(waiting_, std::nullopt));
  const auto move_rows = [&](const Buffer& buffer, int width) {
    const std::size_t n = size(width) * sizeof(float);
    for (std::size_t to = 0; n > 0 && to < kept.size(); ++to) {
      if (kept[to] != to) context_.copy(buffer, kept[to] * n, buffer, to * n, n);
    }
  };
  for (std::size_t i = 0; i < rows_.size(); ++i) move_rows(rows_[i], widths_[i]);
  move_rows(sink_q_, q_width_);
  step_.rows = rows;
  write_rows();
}

// Cosines (0), sines (1), those of the sinks (2, 3) and the mirrored (4, 5) of a table, brought
// when first used.
const Buffer& OpenClOperations::angles(int table, int which) {
  const AngleTable& t = step_.angles[size(table)];
  const std::size_t at = size(table) * kAngleKinds + size(which);
  if (has_angles_[at]) return angles_[at];
  if (!angles_[at])
    angles_[at] = context_.take(size(sizes_.max_tokens) * size(t.n_pairs) * sizeof(float));
  const float* const from[] = {t.cosines,    t.sines,          t.sink_cosines,
                               t.sink_sines, t.mirror_cosines, t.mirror_sines};
  context_.write_later(angles_[at],
                       std::as_bytes(std::span(from[which], n_rows() * size(t.n_pairs))));
  has_angles_[at] = true;
  return angles_[at];
}

void OpenClOperations::read(Rows rows, float* out) {
  recorded_.end(has_angles_);
  context_.read(of(rows), 0, std::as_writable_bytes(std::span(out, n_rows() * size(rows.width))));
}

void OpenClOperations::write(Rows rows, const float* in) {
  context_.write_later(of(rows), std::as_bytes(std::span(in, n_rows() * size(rows.width))));
}

// The processor looks rows up: a few for a step, of a table that needs no room on the device.
void OpenClOperations::embed(const Matrix& table, float scale, Rows x) {
  const std::size_t width = size(x.width);
  host_.resize(n_rows() * width);
  for (std::size_t i = 0; i < n_rows(); ++i) {
    const std::byte* row = table.data + size(step_.rows[i].token) * table.row_bytes();
    kernels::dequantize_row(table.type, row, &host_[i * width], x.width);
  }
  if (scale != 1) {
    for (float& value : host_) value *= scale;
  }
  write(x, host_.data());
}

void OpenClOperations::normalize(const Normalization& norm, Rows x, Rows out) {
  if (recorded_.is_replayed()) return;
  normalize(norm, n_rows(), of(x), x.width, of(out));
}

void OpenClOperations::normalize(const Normalization& norm, std::size_t n, const Buffer& x,
                                 int width, const Buffer& out) {
  launch_norm(norm, n, x, width, out, false, 1, 1);
}

// The end of a branch.
void OpenClOperations::add(const Residual& residual, const Buffer& update) {
  launch_norm(residual.norm, n_rows(), update, residual.x.width, of(residual.x), true,
              residual.scale, residual.sum_scale);
}

void OpenClOperations::launch_norm(const Normalization& norm, std::size_t n, const Buffer& x,
                                   int width, const Buffer& out, bool adds, float scale,
                                   float sum_scale) {
  const NormWeights none;
  const NormWeights& w = norm.weights != nullptr ? *norm.weights : none;
  Kernel& kernel = context_.program(kRowsSource).kernel("normalize_rows");
  kernel.set(x, out, cl_int{width}, cl_int{kind_of(norm)},
             w.weight.empty() ? x : weights_.vector(w.weight),
             w.bias.empty() ? x : weights_.vector(w.bias), cl_int{!w.bias.empty()}, norm.epsilon,
             cl_int{adds}, scale, sum_scale);
  context_.launch(kernel, {n, 1, 1}, kRowGroup);
}

// As the processor makes them (cpu/layer_inputs.cpp); it looks the table's rows up, as embed().
void OpenClOperations::layer_inputs(const LayerInputWeights& weights, float norm_epsilon, Rows x,
                                    Rows inputs) {
  const auto width = static_cast<int>(weights.norm.weight.size());
  const std::size_t n = n_rows() * size(inputs.width);
  host_.resize(n);
  for (std::size_t i = 0; i < n_rows(); ++i) {
    const std::byte* row =
        weights.table.data + size(step_.rows[i].token) * weights.table.row_bytes();
    kernels::dequantize_row(weights.table.type, row, &host_[i * size(inputs.width)], inputs.width);
  }
  for (float& value : host_) value *= std::sqrt(static_cast<float>(width));
  context_.write_later(table_rows_, std::as_bytes(std::span(host_)));
  if (recorded_.is_replayed()) return;
  const Product projection = {&weights.projection, inputs};
  multiply({x, {}}, {&projection, 1});
  const float epsilon = norm_epsilon * static_cast<float>(x.width);
  normalize({&weights.norm, Norm::kRms, epsilon}, n / size(width), of(inputs), width, of(inputs));
  Kernel& join = context_.program(kRowsSource).kernel("join_layer_inputs");
  join.set(of(inputs), table_rows_, number(n));
  context_.launch(join, {(n + 63) / 64, 1, 1}, 64);
}

void OpenClOperations::add_layer_input(const LayerInput& weights, int first, Rows inputs,
                                       const Residual& residual) {
  if (recorded_.is_replayed()) return;
  const auto width = static_cast<int>(weights.gate.weight.rows);
  const Output gate = {&weights.gate, &gate_};
  multiply(norm_of({residual.x, {}}), {&gate, 1}, false);
  Kernel& take = context_.program(kRowsSource).kernel("take_columns");
  take.set(of(inputs), cl_int{inputs.width}, cl_int{first}, cl_int{width}, up_);
  context_.launch(take, {size(width + 63) / 64, n_rows(), 1}, 64);
  const Output output = {&weights.output, nullptr};
  prepare(activated({Activation::kGelu, true}, width), n_rows(), forms_of({&output, 1}));
  multiply_into(nullptr, weights.output, residual);
}

void OpenClOperations::feed_forward(const FfnLayer& layer, const FeedForward& ffn,
                                    const Input& input, const Residual& residual) {
  if (recorded_.is_replayed()) return;
  activate_into(layer, ffn, input);
  multiply_into(nullptr, ffn.down, residual);
}

// Leaves the inputs of `down` prepared.
void OpenClOperations::activate_into(const FfnLayer& layer, const FeedForward& ffn,
                                     const Input& input) {
  if (gate_and_activate_alone(layer, ffn, input)) return;
  const std::array both = {Output{&ffn.up, layer.is_gated ? &up_ : &gate_},
                           Output{&ffn.gate, &gate_}};
  multiply(norm_of(input), std::span(both).first(layer.is_gated ? 2 : 1), false);
  const Output down = {&ffn.down, nullptr};
  prepare(activated(layer, static_cast<int>(ffn.up.weight.rows)), n_rows(), forms_of({&down, 1}));
}

OpenClOperations::Source OpenClOperations::activated(const FfnLayer& layer, int ffn_dim) const {
  return {.kind = Source::Kind::kActivation,
          .x = &gate_,
          .width = ffn_dim,
          .activation = layer.activation,
          .up = layer.is_gated ? &up_ : nullptr};
}

void OpenClOperations::multiply_chosen(std::span<const FeedForward> experts,
                                       const Linear FeedForward::*linear, int n_used,
                                       std::size_t n_choices, const Buffer& y) {
  const DeviceMatrix& matrix = weights_.matrix((experts[0].*linear).weight);
  std::vector<std::span<const float>> biases;
  for (const FeedForward& expert : experts) biases.emplace_back((expert.*linear).bias);
  const bool has_bias = !biases[0].empty();
  Kernel& kernel =
      context_.program(kProductSource, context_.product_options() + " -DCHOSEN " + matrix.options)
          .kernel("product_chosen");
  const auto set = [&](const auto&... inputs) {
    kernel.set(inputs..., cl_int{matrix.chunks}, cl_int{n_used}, chosen_, matrix.data,
               cl_int{matrix.rows}, has_bias ? weights_.vectors(biases) : matrix.data,
               cl_int{has_bias}, y);
  };
  matrix.is_quantised ? set(quants_, scales_, sums_) : set(floats_);
  context_.launch(kernel, {size(kernels::n_groups(matrix.rows)), n_choices, 1},
                  context_.product_group());
}

void OpenClOperations::experts(const ExpertsLayer& layer, const Input& input,
                               const Residual& residual) {
  if (recorded_.is_replayed()) return;
  const std::size_t n = n_rows();
  const std::size_t n_choices = n * size(layer.n_used);
  const FeedForward& first = layer.experts.front();
  const std::array all = {Output{layer.router, &router_}, Output{&first.up, nullptr},
                          Output{layer.ffn.is_gated ? &first.gate : &first.up, nullptr}};
  const bool is_apart = layer.beside != nullptr;  // the router has a norm of its own
  const Normalization of_router = {is_apart ? &layer.beside->router_norm : nullptr, Norm::kRms,
                                   layer.norm_epsilon};
  prepare(norm_of(is_apart ? Input{input.x, of_router} : input), n, forms_of(all));
  multiply(std::span(all).first(1), n, false);
  Program& program = context_.program(kRowsSource);
  Kernel& choose = program.kernel("choose_experts");
  const bool has_bias = !layer.bias.empty();
  const bool has_scales = is_apart && !layer.beside->expert_scales.empty();
  choose.set(router_, number(n), number(layer.experts.size()), cl_int{layer.n_used},
             cl_int{layer.is_sigmoid}, has_bias ? weights_.vector(layer.bias) : router_,
             cl_int{has_bias}, has_scales ? weights_.vector(layer.beside->expert_scales) : router_,
             cl_int{has_scales}, chosen_, shares_);
  context_.launch(choose, {n, 1, 1}, 1);
  if (is_apart) prepare(norm_of(input), n, forms_of(all));
  multiply_chosen(layer.experts, &FeedForward::up, layer.n_used, n_choices,
                  layer.ffn.is_gated ? up_ : gate_);
  if (layer.ffn.is_gated)
    multiply_chosen(layer.experts, &FeedForward::gate, layer.n_used, n_choices, gate_);
  const Output down = {&first.down, nullptr};
  prepare(activated(layer.ffn, static_cast<int>(first.up.weight.rows)), n_choices,
          forms_of({&down, 1}));
  multiply_chosen(layer.experts, &FeedForward::down, 1, n_choices, expert_out_);
  const int width = residual.x.width;
  Kernel& join = program.kernel("join_experts");
  join.set(expert_out_, shares_, cl_int{layer.n_used}, cl_int{width}, update_);
  context_.launch(join, {size(width + 63) / 64, n, 1}, 64);
  if (layer.shared != nullptr) add_shared_expert(layer, input, width);
  if (is_apart) add_dense_beside(layer, input.x);
  add(residual, update_);
}

// Both branches are normalised before they meet.
void OpenClOperations::add_dense_beside(const ExpertsLayer& layer, Rows x) {
  const DenseBeside& beside = *layer.beside;
  const auto norm = [&](const NormWeights& weights) {
    return Normalization{&weights, Norm::kRms, layer.norm_epsilon};
  };
  normalize(norm(beside.expert_post_norm), n_rows(), update_, x.width, update_);
  activate_into(layer.ffn, *layer.dense, {x, norm(beside.norm)});
  const Output dense = {&layer.dense->down, &expert_out_};
  multiply({&dense, 1}, n_rows(), false);
  launch_norm(norm(beside.post_norm), n_rows(), expert_out_, x.width, update_, true, 1, 1);
}

void OpenClOperations::add_shared_expert(const ExpertsLayer& layer, const Input& input, int width) {
  const std::size_t n = n_rows();
  const bool is_gated = layer.shared_gate != nullptr;
  if (is_gated) {
    const Output gate = {layer.shared_gate, &router_};
    multiply(norm_of(input), {&gate, 1}, false);
  }
  activate_into(layer.ffn, *layer.shared, input);
  const Output shared = {&layer.shared->down, is_gated ? &expert_out_ : &update_};
  multiply({&shared, 1}, n, !is_gated);
  if (!is_gated) return;
  Kernel& add = context_.program(kRowsSource).kernel("add_gated");
  add.set(expert_out_, router_, cl_int{width}, update_);
  context_.launch(add, {size(width + 63) / 64, n, 1}, 64);
}

void OpenClOperations::logits(const Input& input, const Linear& output, float softcap,
                              const RowVisitor& on_row) {
  recorded_.end(has_angles_);
  const std::size_t vocabulary = size(output.weight.rows);
  const auto all_rows = step_.rows;
  LogitsRow* const only = all_rows.size() == 1 ? all_rows[0].logits : nullptr;
  const Buffer& to = only != nullptr ? static_cast<DeviceLogits*>(only)->changed() : logits_;
  const Output to_logits = {&output, &to};
  const Rows x = input.x;
  for (std::size_t first = 0; first < all_rows.size(); first += kLogitRows) {
    const std::size_t n = std::min(kLogitRows, all_rows.size() - first);
    if (first > 0) {
      const std::size_t n_bytes = size(x.width) * sizeof(float);
      context_.copy(of(x), first * n_bytes, of(x), 0, n * n_bytes);
    }
    prepare(norm_of(input), n, forms_of({&to_logits, 1}));
    multiply({&to_logits, 1}, n, false);
    if (softcap > 0) {
      Kernel& kernel = context_.program(kRowsSource).kernel("softcap");
      kernel.set(to, softcap, number(n * vocabulary));
      context_.launch(kernel, {(n * vocabulary + 63) / 64, 1, 1}, 64);
    }
    only != nullptr ? context_.finish() : give_logits(first, n, vocabulary, on_row);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
  context_.count_seconds(took.count());
}

// To where they stay on the device, or to the visitor here.
void OpenClOperations::give_logits(std::size_t first, std::size_t n, std::size_t vocabulary,
                                   const RowVisitor& on_row) {
  const std::size_t n_bytes = vocabulary * sizeof(float);
  const auto shown = [&](std::size_t i) { return step_.rows[first + i].logits == nullptr; };
  std::size_t n_shown = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (shown(i)) {
      ++n_shown;
      continue;
    }
    auto* const row = static_cast<DeviceLogits*>(step_.rows[first + i].logits);
    context_.copy(logits_, i * n_bytes, row->changed(), 0, n_bytes);
  }
  if (n_shown == 0) return context_.finish();
  host_.resize(n * vocabulary);
  context_.read(logits_, 0, std::as_writable_bytes(std::span(host_)));
  for (std::size_t i = 0; i < n; ++i) {
    if (shown(i)) on_row(first + i, std::span(host_).subspan(i * vocabulary, vocabulary));
  }
}

}  // namespace runnel::opencl
