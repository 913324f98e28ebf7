// Rows, products, the feed-forward half and logits.
#include "device/opencl/opencl_operations.h"

#include <algorithm>
#include <array>

#include "device/opencl/sources.h"
#include "kernels/pack/dequantize.h"

namespace runnel::opencl {
namespace {

constexpr std::size_t kLogitRows = 32;  // rows of logits computed together
constexpr std::size_t kRowGroup = 64;   // work-items of rows.cl
constexpr std::size_t kProductGroup = 128;
constexpr std::size_t kAngleKinds = 6;
constexpr std::size_t kTogether = 8;  // rows of inputs that product_8 takes

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

cl_int number(std::size_t n) { return static_cast<cl_int>(n); }

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
  if (s.n_experts == 0) return;
  floats(&OpenClOperations::router_, n * size(s.n_experts));
  take(&OpenClOperations::chosen_, n_choices * sizeof(cl_int));
  floats(&OpenClOperations::shares_, n_choices);
  floats(&OpenClOperations::expert_out_, n_choices * size(s.dim));
}

OpenClOperations::OpenClOperations(Context& context, WeightStore& weights, const StepSizes& sizes)
    : context_(context), weights_(weights), sizes_(sizes) {
  lay_out(sizes, [&](Buffer OpenClOperations::*buffer, std::size_t n_bytes) {
    this->*buffer = context_.take(n_bytes);
  });
}

std::uint64_t OpenClOperations::bytes_of(const StepSizes& sizes) {
  const std::size_t n_parts = size(sizes.max_tokens) * size(sizes.q_dim) * 2 * kMostSplits;
  std::uint64_t all = std::min(kPartBytes, n_parts * sizeof(float));
  lay_out(sizes, [&](Buffer OpenClOperations::*, std::size_t n_bytes) { all += n_bytes; });
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
  has_angles_.assign(step.angles.size() * kAngleKinds, false);
  angles_.resize(has_angles_.size());
  write_rows();
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
  context_.write(positions_, 0, std::as_bytes(std::span(positions)));
  context_.write(query_scales_, 0, std::as_bytes(std::span(scales)));
  context_.write(row_sinks_, 0, std::as_bytes(std::span(host_)));
}

// The rows move to where they are wanted one by one: each goes to the place of one that has left.
void OpenClOperations::keep(std::span<const std::size_t> kept, std::span<const StepRow> rows) {
  const auto move_rows = [&](const Buffer& buffer, int width) {
    const std::size_t n = size(width) * sizeof(float);
    for (std::size_t to = 0; n > 0 && to < kept.size(); ++to) {
      if (kept[to] != to) context_.copy(buffer, kept[to] * n, buffer, to * n, n);
    }
  };
  for (std::size_t i = 0; i < rows_.size(); ++i) move_rows(rows_[i], widths_[i]);
  move_rows(sink_q_, sizes_.q_dim);
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
  context_.write(angles_[at], 0, std::as_bytes(std::span(from[which], n_rows() * size(t.n_pairs))));
  has_angles_[at] = true;
  return angles_[at];
}

void OpenClOperations::read(Rows rows, float* out) {
  context_.read(of(rows), 0, std::as_writable_bytes(std::span(out, n_rows() * size(rows.width))));
}

void OpenClOperations::write(Rows rows, const float* in) {
  context_.write(of(rows), 0, std::as_bytes(std::span(in, n_rows() * size(rows.width))));
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
  normalize(norm, of(x), x.width, of(out), false);
}

void OpenClOperations::normalize(const Normalization& norm, const Buffer& x, int width,
                                 const Buffer& out, bool adds, float scale) {
  const NormWeights none;
  const NormWeights& w = norm.weights != nullptr ? *norm.weights : none;
  Kernel& kernel = context_.program(kRowsSource).kernel("normalize_rows");
  kernel.set(x, out, cl_int{width}, cl_int{kind_of(norm)},
             w.weight.empty() ? x : weights_.vector(w.weight),
             w.bias.empty() ? x : weights_.vector(w.bias), cl_int{!w.bias.empty()}, norm.epsilon,
             cl_int{adds}, scale);
  context_.launch(kernel, {n_rows(), 1, 1}, kRowGroup);
}

OpenClOperations::Forms OpenClOperations::forms_of(std::span<const Output> outputs) const {
  Forms forms;
  for (const Output& output : outputs) {
    const bool is_quantised = weights_.matrix(output.linear->weight).is_quantised;
    (is_quantised ? forms.quants : forms.floats) = true;
  }
  return forms;
}

void OpenClOperations::prepare(const Buffer& x, int width, const Normalization& norm,
                               const Gated* gated, std::size_t n, Forms forms) {
  const NormWeights none;
  const NormWeights& w = norm.weights != nullptr ? *norm.weights : none;
  const bool has_up = gated != nullptr && gated->up != nullptr;
  Kernel& kernel = context_.program(kRowsSource).kernel("prepare");
  kernel.set(x, cl_int{width}, cl_int{(width + 31) / 32}, cl_int{kind_of(norm)},
             w.weight.empty() ? x : weights_.vector(w.weight),
             w.bias.empty() ? x : weights_.vector(w.bias), cl_int{!w.bias.empty()}, norm.epsilon,
             cl_int{gated != nullptr ? static_cast<int>(gated->activation) : -1},
             has_up ? *gated->up : x, cl_int{has_up}, cl_int{forms.quants}, cl_int{forms.floats},
             quants_, scales_, sums_, floats_);
  context_.launch(kernel, {n, 1, 1}, kRowGroup);
}

// Products of the prepared inputs; those of one form, up to three, in one launch.
void OpenClOperations::multiply(std::span<const Output> outputs, std::size_t n, bool adds) {
  constexpr std::size_t kMost = 3;
  while (!outputs.empty()) {
    const std::string& options = weights_.matrix(outputs[0].linear->weight).options;
    std::size_t n_alike = 1;
    while (n_alike < std::min(kMost, outputs.size()) &&
           weights_.matrix(outputs[n_alike].linear->weight).options == options)
      ++n_alike;
    multiply_alike(outputs.first(n_alike), n, adds);
    outputs = outputs.subspan(n_alike);
  }
}

void OpenClOperations::multiply_alike(std::span<const Output> outputs, std::size_t n, bool adds) {
  struct Place {
    const Buffer* w;
    cl_int rows;
    const Buffer* bias;
    const Buffer* y;
  };
  std::array<Place, 3> places;
  const DeviceMatrix& first = weights_.matrix(outputs[0].linear->weight);
  cl_int biases = 0;
  std::size_t n_groups = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (i >= outputs.size()) {
      places[i] = {&first.data, 0, &first.data, outputs[0].y};
      continue;
    }
    const DeviceMatrix& matrix = weights_.matrix(outputs[i].linear->weight);
    const Vector& bias = outputs[i].linear->bias;
    if (!bias.empty()) biases |= 1 << i;
    places[i] = {&matrix.data, matrix.rows, bias.empty() ? &matrix.data : &weights_.vector(bias),
                 outputs[i].y};
    n_groups += size(kernels::n_groups(matrix.rows));
  }
  const std::size_t together = n == 1 ? 1 : kTogether;
  Kernel& kernel = context_.program(kProductSource, context_.dot_option() + " " + first.options)
                       .kernel(together == 1 ? "product_1" : "product_8");
  const auto set = [&](const auto&... inputs) {
    const auto& [p0, p1, p2] = places;
    kernel.set(inputs..., cl_int{first.chunks}, number(n), cl_int{adds}, biases, *p0.w, p0.rows,
               *p0.bias, *p0.y, *p1.w, p1.rows, *p1.bias, *p1.y, *p2.w, p2.rows, *p2.bias, *p2.y);
  };
  first.is_quantised ? set(quants_, scales_, sums_) : set(floats_);
  context_.launch(kernel, {n_groups, (n + together - 1) / together, 1}, kProductGroup);
}

void OpenClOperations::multiply(const Input& input, std::span<const Product> products) {
  std::vector<Output> outputs;
  for (const Product& p : products) outputs.push_back({p.linear, &of(p.y)});
  prepare(of(input.x), input.x.width, input.norm, nullptr, n_rows(), forms_of(outputs));
  multiply(outputs, n_rows(), false);
}

// Of the prepared inputs: x += scale * norm(product).
void OpenClOperations::multiply_into(const Linear& linear, const Residual& residual) {
  const bool is_direct = residual.norm.weights == nullptr && residual.scale == 1;
  const Output output = {&linear, is_direct ? &of(residual.x) : &update_};
  multiply({&output, 1}, n_rows(), is_direct);
  if (!is_direct)
    normalize(residual.norm, update_, residual.x.width, of(residual.x), true, residual.scale);
}

void OpenClOperations::feed_forward(const FfnLayer& layer, const FeedForward& ffn,
                                    const Input& input, const Residual& residual) {
  activate_into(layer, ffn, input);
  multiply_into(ffn.down, residual);
}

// Leaves the inputs of `down` prepared.
void OpenClOperations::activate_into(const FfnLayer& layer, const FeedForward& ffn,
                                     const Input& input) {
  const std::array both = {Output{&ffn.up, layer.is_gated ? &up_ : &gate_},
                           Output{&ffn.gate, &gate_}};
  const std::span outputs = std::span(both).first(layer.is_gated ? 2 : 1);
  prepare(of(input.x), input.x.width, input.norm, nullptr, n_rows(), forms_of(outputs));
  multiply(outputs, n_rows(), false);
  const Gated gated = {layer.activation, layer.is_gated ? &up_ : nullptr};
  const Output down = {&ffn.down, nullptr};
  prepare(gate_, static_cast<int>(ffn.up.weight.rows), {}, &gated, n_rows(), forms_of({&down, 1}));
}

void OpenClOperations::multiply_chosen(std::span<const FeedForward> experts,
                                       const Linear FeedForward::*linear, int n_used,
                                       std::size_t n_choices, const Buffer& y) {
  const DeviceMatrix& matrix = weights_.matrix((experts[0].*linear).weight);
  std::vector<std::span<const float>> biases;
  for (const FeedForward& expert : experts) biases.emplace_back((expert.*linear).bias);
  const bool has_bias = !biases[0].empty();
  Kernel& kernel =
      context_.program(kProductSource, context_.dot_option() + " -DCHOSEN " + matrix.options)
          .kernel("product_chosen");
  const auto set = [&](const auto&... inputs) {
    kernel.set(inputs..., cl_int{matrix.chunks}, cl_int{n_used}, chosen_, matrix.data,
               cl_int{matrix.rows}, has_bias ? weights_.vectors(biases) : matrix.data,
               cl_int{has_bias}, y);
  };
  matrix.is_quantised ? set(quants_, scales_, sums_) : set(floats_);
  context_.launch(kernel, {size(kernels::n_groups(matrix.rows)), n_choices, 1}, kProductGroup);
}

void OpenClOperations::experts(const ExpertsLayer& layer, const Input& input,
                               const Residual& residual) {
  const std::size_t n = n_rows();
  const std::size_t n_choices = n * size(layer.n_used);
  const FeedForward& first = layer.experts.front();
  const std::array all = {Output{layer.router, &router_}, Output{&first.up, nullptr},
                          Output{layer.ffn.is_gated ? &first.gate : &first.up, nullptr}};
  prepare(of(input.x), input.x.width, input.norm, nullptr, n, forms_of(all));
  multiply(std::span(all).first(1), n, false);
  Program& program = context_.program(kRowsSource);
  Kernel& choose = program.kernel("choose_experts");
  const bool has_bias = !layer.bias.empty();
  choose.set(router_, number(n), number(layer.experts.size()), cl_int{layer.n_used},
             cl_int{layer.is_sigmoid}, has_bias ? weights_.vector(layer.bias) : router_,
             cl_int{has_bias}, chosen_, shares_);
  context_.launch(choose, {n, 1, 1}, 1);
  multiply_chosen(layer.experts, &FeedForward::up, layer.n_used, n_choices,
                  layer.ffn.is_gated ? up_ : gate_);
  if (layer.ffn.is_gated)
    multiply_chosen(layer.experts, &FeedForward::gate, layer.n_used, n_choices, gate_);
  const Gated gated = {layer.ffn.activation, layer.ffn.is_gated ? &up_ : nullptr};
  const Output down = {&first.down, nullptr};
  prepare(gate_, static_cast<int>(first.up.weight.rows), {}, &gated, n_choices,
          forms_of({&down, 1}));
  multiply_chosen(layer.experts, &FeedForward::down, 1, n_choices, expert_out_);
  const int width = residual.x.width;
  Kernel& join = program.kernel("join_experts");
  join.set(expert_out_, shares_, cl_int{layer.n_used}, cl_int{width}, update_);
  context_.launch(join, {size(width + 63) / 64, n, 1}, 64);
  if (layer.shared != nullptr) add_shared_expert(layer, input, width);
  normalize(residual.norm, update_, width, of(residual.x), true, residual.scale);
}

void OpenClOperations::add_shared_expert(const ExpertsLayer& layer, const Input& input, int width) {
  const std::size_t n = n_rows();
  const bool is_gated = layer.shared_gate != nullptr;
  if (is_gated) {
    const Output gate = {layer.shared_gate, &router_};
    prepare(of(input.x), input.x.width, input.norm, nullptr, n, forms_of({&gate, 1}));
    multiply({&gate, 1}, n, false);
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
  const std::size_t vocabulary = size(output.weight.rows);
  const Output to_logits = {&output, &logits_};
  const auto all_rows = step_.rows;
  const Rows x = input.x;
  for (std::size_t first = 0; first < all_rows.size(); first += kLogitRows) {
    const std::size_t n = std::min(kLogitRows, all_rows.size() - first);
    if (first > 0) {
      const std::size_t n_bytes = size(x.width) * sizeof(float);
      context_.copy(of(x), first * n_bytes, of(x), 0, n * n_bytes);
    }
    prepare(of(x), x.width, input.norm, nullptr, n, forms_of({&to_logits, 1}));
    multiply({&to_logits, 1}, n, false);
    if (softcap > 0) {
      Kernel& kernel = context_.program(kRowsSource).kernel("softcap");
      kernel.set(logits_, softcap, number(n * vocabulary));
      context_.launch(kernel, {(n * vocabulary + 63) / 64, 1, 1}, 64);
    }
    host_.resize(n * vocabulary);
    context_.read(logits_, 0, std::as_writable_bytes(std::span(host_)));
    const auto now = std::chrono::steady_clock::now();
    context_.count_seconds(std::chrono::duration<double>(now - began_).count());
    began_ = now;
    for (std::size_t i = 0; i < n; ++i)
      on_row(first + i, std::span(host_).subspan(i * vocabulary, vocabulary));
  }
}

}  // namespace runnel::opencl
