// Products, and what they take.
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>

#include "device/opencl/opencl_operations.h"
#include "device/opencl/sources.h"

namespace runnel::opencl {
namespace {

constexpr std::size_t kFewTokens = 8;    // share a read of the weights, or one has it alone
constexpr std::size_t kTileTokens = 32;  // of product_tile
constexpr std::size_t kManyTokens = 128;
constexpr std::size_t kOwnLocalBytes = 17 << 10;  // of product.cl, beside what is passed

std::uint64_t hash_of(const std::string& text) { return XXH3_64bits(text.data(), text.size()); }

std::size_t chunks_of(int width) { return size((width + 31) / 32); }

// Of the inputs of one row in local memory.
std::size_t input_bytes(bool is_quantised, std::size_t chunks) {
  return is_quantised ? chunks * (32 + sizeof(float) + 2 * sizeof(cl_short))
                      : chunks * 32 * sizeof(float);
}

}  // namespace

OpenClOperations::Source OpenClOperations::norm_of(const Input& input) const {
  return {.x = &of(input.x), .width = input.x.width, .norm = input.norm};
}

std::size_t OpenClOperations::factor_bytes(const Source& s) const {
  const std::size_t n_heads = s.attention != nullptr ? size(s.attention->n_heads) : 0;
  return std::max<std::size_t>(n_heads * (2 * s.n_splits + 1), 1) * sizeof(float);
}

// As inputs.cl has it.
template <typename... More>
void OpenClOperations::set_source(Kernel& kernel, const Source& s, const More&... more) {
  const NormWeights none;
  const NormWeights& norm = s.norm.weights != nullptr ? *s.norm.weights : none;
  const bool is_parts = s.attention != nullptr;
  const std::span<const float> sinks =
      is_parts ? s.attention->sink_logits : std::span<const float>(norm.weight);
  const Buffer& bias = is_parts            ? row_sinks_
                       : norm.bias.empty() ? *s.x
                                           : weights_.vector(norm.bias);
  const int kind = s.norm.weights == nullptr ? 0 : s.norm.kind == Norm::kRms ? 1 : 2;
  kernel.set(cl_int{static_cast<int>(s.kind)}, *s.x, s.up != nullptr ? *s.up : *s.x,
             cl_int{s.up != nullptr}, cl_int{static_cast<int>(s.activation)}, cl_int{kind},
             sinks.empty() ? *s.x : weights_.vector(sinks), cl_int{!sinks.empty()}, bias,
             cl_int{!norm.bias.empty()}, s.norm.epsilon,
             cl_int{is_parts ? s.attention->n_heads : 0}, number(s.n_splits),
             cl_int{is_parts ? s.attention->head_dim : 1}, cl_int{s.width}, more...);
}

OpenClOperations::Forms OpenClOperations::forms_of(std::span<const Output> outputs) const {
  Forms forms;
  for (const Output& output : outputs) {
    const bool is_quantised = weights_.matrix(output.linear->weight).is_quantised;
    (is_quantised ? forms.quants : forms.floats) = true;
  }
  return forms;
}

void OpenClOperations::prepare(const Source& source, std::size_t n, Forms forms) {
  Kernel& kernel = context_.program(kRowsSource).kernel("prepare");
  set_source(kernel, source, number(chunks_of(source.width)), cl_int{forms.quants},
             cl_int{forms.floats}, quants_, scales_, sums_, floats_,
             LocalBytes{factor_bytes(source)});
  context_.launch(kernel, {n, 1, 1}, kRowGroup);
}

// Of one row, where a work-group's memory holds what the products take.
bool OpenClOperations::is_made_inside(const Source& source, std::span<const Output> outputs) const {
  const Forms forms = forms_of(outputs);
  const std::size_t n_bytes = input_bytes(!forms.floats, chunks_of(source.width));
  return n_rows() == 1 &&
         n_bytes + factor_bytes(source) + kOwnLocalBytes <= context_.description().local_bytes;
}

void OpenClOperations::multiply(const Input& input, std::span<const Product> products) {
  if (recorded_.is_replayed()) return;
  std::vector<Output> outputs;
  for (const Product& p : products) outputs.push_back({p.linear, &of(p.y)});
  multiply(norm_of(input), outputs, false);
}

void OpenClOperations::multiply(const Source& source, std::span<const Output> outputs, bool adds) {
  if (is_made_inside(source, outputs)) return multiply_alone(source, outputs, adds);
  prepare(source, n_rows(), forms_of(outputs));
  multiply(outputs, n_rows(), adds);
}

std::size_t OpenClOperations::n_alike(std::span<const Output> outputs) const {
  const std::string& options = weights_.matrix(outputs[0].linear->weight).options;
  std::size_t n = 1;
  while (n < std::min(kMostAlike, outputs.size()) &&
         weights_.matrix(outputs[n].linear->weight).options == options)
    ++n;
  return n;
}

// Products of the prepared inputs; those of one form, up to three, in one launch.
void OpenClOperations::multiply(std::span<const Output> outputs, std::size_t n, bool adds) {
  while (!outputs.empty()) {
    const std::size_t n_together = n_alike(outputs);
    multiply_alike(outputs.first(n_together), n, adds);
    outputs = outputs.subspan(n_together);
  }
}

Program& OpenClOperations::product_program(const DeviceMatrix& matrix, std::size_t gate_up_group) {
  return context_.program(
      kProductSource,
      fmt::format("{} -DALONE -DGATE_UP_GROUP={} {}", context_.product_options(),
                  gate_up_group > 0 ? gate_up_group : context_.product_group(), matrix.options));
}

// As product.cl has them, behind its other arguments: the matrices, their biases and the results.
OpenClOperations::Places OpenClOperations::places_of(std::span<const Output> outputs) {
  Places places;
  const DeviceMatrix& first = weights_.matrix(outputs[0].linear->weight);
  for (std::size_t i = 0; i < kMostAlike; ++i) {
    if (i >= outputs.size()) {
      places.of[i] = {&first.data, 0, &first.data, outputs[0].y};
      continue;
    }
    const DeviceMatrix& matrix = weights_.matrix(outputs[i].linear->weight);
    const Vector& bias = outputs[i].linear->bias;
    if (!bias.empty()) places.biases |= 1 << i;
    places.of[i] = {&matrix.data, matrix.rows, bias.empty() ? &matrix.data : &weights_.vector(bias),
                    outputs[i].y};
    places.n_groups += size(kernels::n_groups(matrix.rows));
  }
  return places;
}

void OpenClOperations::multiply_alike(std::span<const Output> outputs, std::size_t n, bool adds) {
  const DeviceMatrix& first = weights_.matrix(outputs[0].linear->weight);
  Places places = places_of(outputs);
  if (n <= kFewTokens) return launch_product(first, places, n, adds, n == 1 ? 1 : 8);
  static constexpr std::size_t kShared[] = {16, kTileTokens};
  Places tried = places;
  if (adds) tried.of[0].y = &update_;  // what is timed is run again and again
  const std::string key = fmt::format("product:{}x{}:{}:{:016x}", places.n_groups, first.chunks,
                                      n < kManyTokens ? "few" : "many", hash_of(first.options));
  const auto run = [&](std::size_t together) { launch_product(first, tried, n, false, together); };
  launch_product(first, places, n, adds, tuning_.fastest(context_, key, kShared, run));
}

// `together`: rows of inputs that a read of the weights serves.
void OpenClOperations::launch_product(const DeviceMatrix& first, const Places& places,
                                      std::size_t n, bool adds, std::size_t together) {
  const bool is_tile = together == kTileTokens;
  Kernel& kernel = product_program(first).kernel(is_tile ? std::string("product_tile")
                                                         : fmt::format("product_{}", together));
  const auto set = [&](const auto&... inputs) {
    const auto& [p0, p1, p2] = places.of;
    kernel.set(inputs..., cl_int{first.chunks}, number(n), cl_int{adds}, places.biases, *p0.w,
               p0.rows, *p0.bias, *p0.y, *p1.w, p1.rows, *p1.bias, *p1.y, *p2.w, p2.rows, *p2.bias,
               *p2.y);
  };
  first.is_quantised ? set(quants_, scales_, sums_) : set(floats_);
  const std::size_t n_columns = (n + together - 1) / together;
  // Groups that read the same weights follow one another.
  if (!is_tile)
    return context_.launch(kernel, {n_columns, places.n_groups, 1}, context_.product_group());
  std::size_t n_tiles = 0;
  for (const Places::Place& place : places.of) n_tiles += (size(place.rows) + 63) / 64;
  context_.launch(kernel, {n_columns, n_tiles, 1}, 16, 8);
}

// Calls set(local memory of the inputs...) as the form of the weights takes it.
template <typename Set>
void OpenClOperations::with_local_inputs(const DeviceMatrix& matrix, Set set) {
  const std::size_t chunks = size(matrix.chunks);
  if (matrix.is_quantised) {
    set(LocalBytes{chunks * 32}, LocalBytes{chunks * sizeof(float)},
        LocalBytes{chunks * 2 * sizeof(cl_short)});
  } else {
    set(LocalBytes{chunks * 32 * sizeof(float)});
  }
}

// Of one row, which each work-group makes the inputs of for itself.
void OpenClOperations::multiply_alone(const Source& source, std::span<const Output> outputs,
                                      bool adds) {
  while (!outputs.empty()) {
    const std::size_t n_together = n_alike(outputs);
    const auto alike = outputs.first(n_together);
    const DeviceMatrix& first = weights_.matrix(alike[0].linear->weight);
    const Places places = places_of(alike);
    Kernel& kernel = product_program(first).kernel("product_alone");
    with_local_inputs(first, [&](const auto&... inputs) {
      const auto& [p0, p1, p2] = places.of;
      set_source(kernel, source, inputs..., LocalBytes{factor_bytes(source)}, cl_int{first.chunks},
                 cl_int{adds}, places.biases, *p0.w, p0.rows, *p0.bias, *p0.y, *p1.w, p1.rows,
                 *p1.bias, *p1.y, *p2.w, p2.rows, *p2.bias, *p2.y);
    });
    context_.launch(kernel, {places.n_groups, 1, 1}, context_.product_group());
    outputs = outputs.subspan(n_together);
  }
}

void OpenClOperations::multiply_into(const Source* source, const Linear& linear,
                                     const Residual& residual) {
  const bool is_direct =
      residual.norm.weights == nullptr && residual.scale == 1 && residual.sum_scale == 1;
  const Output output = {&linear, is_direct ? &of(residual.x) : &update_};
  if (source != nullptr) {
    multiply(*source, {&output, 1}, is_direct);
  } else {
    multiply({&output, 1}, n_rows(), is_direct);
  }
  if (!is_direct) add(residual, update_);
}

// Norm, gate, up and activation of one row in one launch, which leaves the inputs of `down`; false
// where they do not go together.
bool OpenClOperations::gate_and_activate_alone(const FfnLayer& layer, const FeedForward& ffn,
                                               const Input& input) {
  const Linear& gate = layer.is_gated ? ffn.gate : ffn.up;
  const std::array both = {Output{&ffn.up, nullptr}, Output{&gate, nullptr}};
  const Source source = norm_of(input);
  if (n_alike(both) != 2 || !is_made_inside(source, both)) return false;
  const DeviceMatrix& up_matrix = weights_.matrix(ffn.up.weight);
  const auto bias = [&](const Linear& linear) -> const Buffer& {
    return linear.bias.empty() ? up_matrix.data : weights_.vector(linear.bias);
  };
  const cl_int biases = (ffn.up.bias.empty() ? 0 : 1) | (gate.bias.empty() ? 0 : 2);
  const Output down = {&ffn.down, nullptr};
  const Forms forms = forms_of({&down, 1});
  const auto launch = [&](std::size_t group) {
    Kernel& kernel = product_program(up_matrix, group).kernel("gate_up_alone");
    with_local_inputs(up_matrix, [&](const auto&... inputs) {
      set_source(kernel, source, inputs..., LocalBytes{factor_bytes(source)},
                 cl_int{up_matrix.chunks}, biases, up_matrix.data, bias(ffn.up),
                 weights_.matrix(gate.weight).data, bias(gate), cl_int{up_matrix.rows},
                 cl_int{layer.is_gated}, cl_int{static_cast<int>(layer.activation)},
                 cl_int{forms.quants}, cl_int{forms.floats}, quants_, scales_, sums_, floats_);
    });
    context_.launch(kernel, {chunks_of(up_matrix.rows), 1, 1}, group);
  };
  // The four products of a work-group one after the other, or two or four side by side.
  const std::size_t one = context_.product_group();
  const std::size_t groups[] = {one, 2 * one, 4 * one};
  const std::size_t most = context_.description().is_gpu ? context_.largest_group() : 256;
  const std::size_t n_groups = most >= groups[2] ? 3 : most >= groups[1] ? 2 : 1;
  const std::string key = fmt::format("gate_up:{}x{}:{:016x}", up_matrix.rows, up_matrix.chunks,
                                      hash_of(up_matrix.options));
  launch(tuning_.fastest(context_, key, std::span(groups).first(n_groups), launch));
  return true;
}

}  // namespace runnel::opencl
