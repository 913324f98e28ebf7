// A small model made as slow as a large one: widen MODEL OUT [LAYERS [DIM [FFN_DIM]]]
//
// Writes a llama model with larger matrices that computes what MODEL computes: what is added is
// zero, and the norms are scaled by what zeros take from a mean square. So a measurement that
// depends on what a model says, such as the gain of drafts, can be made at the speed of a size of
// which no trained model is at hand. The default sizes are those of 1.1 billion parameters: 22
// layers of 2,048, 5,632 inside the feed-forward layer.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_type.h"
#include "gguf/file.h"
#include "gguf/writer.h"
#include "model/make_model.h"
#include "model/tensor_plan.h"

namespace {

using runnel::Error;
using runnel::ModelShape;
using runnel::PlannedTensor;
using runnel::StorageType;
using runnel::gguf::File;
using runnel::gguf::Header;
using runnel::gguf::Tensor;
using runnel::gguf::Value;
using runnel::gguf::WritableValue;
using runnel::gguf::Writer;

ModelShape shape_of(const File& file) {
  const auto count = [&](const char* key) { return static_cast<int>(file.get_int(key)); };
  ModelShape s = {.architecture = "llama",
                  .dim = count("llama.embedding_length"),
                  .n_layers = count("llama.block_count"),
                  .n_heads = count("llama.attention.head_count"),
                  .n_kv_heads = count("llama.attention.head_count_kv"),
                  .ffn_dim = count("llama.feed_forward_length")};
  s.head_dim = s.dim / s.n_heads;
  s.vocabulary_size = static_cast<int>(file.get_array("tokenizer.ggml.tokens").size());
  s.is_tied = file.find_tensor("output.weight") == nullptr;
  return s;
}

// Heads are added, not made longer, and as many share their keys as before.
ModelShape widened(const ModelShape& small, const ModelShape& asked) {
  ModelShape wide = small;
  wide.n_layers = asked.n_layers;
  wide.dim = asked.dim;
  wide.ffn_dim = asked.ffn_dim;
  wide.n_heads = wide.dim / small.head_dim;
  wide.n_kv_heads = wide.n_heads * small.n_kv_heads / small.n_heads;
  return wide;
}

WritableValue copy_of(const Value& value) {
  if (const auto x = value.as_bool()) return *x;
  if (const auto x = value.as_int()) return static_cast<std::uint32_t>(*x);
  if (const auto x = value.as_float()) return static_cast<float>(*x);
  if (const auto x = value.as_string()) return std::string(*x);
  const auto* array = value.as_array();
  if (const auto x = array->strings()) return std::vector<std::string>(x->begin(), x->end());
  if (const auto x = array->ints()) return std::vector<std::int32_t>(x->begin(), x->end());
  return array->floats().value();
}

// `part`: of the wide rows that is not zero.
std::map<std::string_view, WritableValue> new_metadata(const File& file, const ModelShape& wide,
                                                       double part) {
  constexpr std::string_view kEpsilon = "llama.attention.layer_norm_rms_epsilon";
  const auto count = [](int n) { return static_cast<std::uint32_t>(n); };
  return {{"llama.block_count", count(wide.n_layers)},
          {"llama.embedding_length", count(wide.dim)},
          {"llama.feed_forward_length", count(wide.ffn_dim)},
          {"llama.attention.head_count", count(wide.n_heads)},
          {"llama.attention.head_count_kv", count(wide.n_kv_heads)},
          {kEpsilon, static_cast<float>(file.get_float(kEpsilon) * part)}};
}

// The tensors of the wide model, each of the type that the small one's has.
std::vector<PlannedTensor> plan(const File& file, const ModelShape& wide) {
  std::vector<PlannedTensor> tensors = plan_model(wide, StorageType::parse("f32")).tensors;
  for (PlannedTensor& t : tensors) {
    const bool is_of_layer = t.name.starts_with("blk.");
    const std::string like = is_of_layer ? "blk.0" + t.name.substr(t.name.find('.', 4)) : t.name;
    const Tensor* tensor = file.find_tensor(like);
    if (tensor == nullptr) throw Error(fmt::format("{}: no tensor {}", file.name(), like));
    t.type = tensor->type;
  }
  return tensors;
}

// `small` may be null: all zero. Zero bytes are zero weights in every type.
void write(Writer& writer, const PlannedTensor& t, const Tensor* small, float norm_scale) {
  std::vector<std::byte> row(runnel::bytes_of(t.type, t.shape[0]));
  const std::int64_t n_rows = t.n_elements() / t.shape[0];
  for (std::int64_t i = 0; i < n_rows; ++i) {
    std::fill(row.begin(), row.end(), std::byte{0});
    if (small != nullptr && i < small->shape[1]) {
      const std::size_t n_bytes = runnel::bytes_of(t.type, small->shape[0]);
      std::memcpy(row.data(), small->data.data() + static_cast<std::size_t>(i) * n_bytes, n_bytes);
    }
    if (t.shape.size() == 1) {
      std::vector<float> norm(static_cast<std::size_t>(t.shape[0]));
      std::memcpy(norm.data(), row.data(), row.size());
      for (float& weight : norm) weight *= norm_scale;
      std::memcpy(row.data(), norm.data(), row.size());
    }
    writer.append(t.name, row);
  }
}

void widen(const File& file, const ModelShape& asked, const char* out) {
  const ModelShape small = shape_of(file);
  const ModelShape wide = widened(small, asked);
  if (wide.n_layers < small.n_layers || wide.dim < small.dim || wide.ffn_dim < small.ffn_dim)
    throw Error(fmt::format("wanted at least {} layers of {} and {}, found {} of {} and {}",
                            small.n_layers, small.dim, small.ffn_dim, wide.n_layers, wide.dim,
                            wide.ffn_dim));
  const double part = static_cast<double>(small.dim) / wide.dim;
  Header header;
  const auto replaced = new_metadata(file, wide, part);
  for (const auto& [key, value] : file.metadata()) {
    const auto found = replaced.find(key);
    header.add(key, found != replaced.end() ? found->second : copy_of(value));
  }
  const std::vector<PlannedTensor> tensors = plan(file, wide);
  for (const PlannedTensor& t : tensors) header.add_tensor(t.name, t.type, t.shape);
  Writer writer(out, header);
  const auto norm_scale = static_cast<float>(std::sqrt(part));
  for (const PlannedTensor& t : tensors) write(writer, t, file.find_tensor(t.name), norm_scale);
  writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 6) {
    fmt::print(stderr, "usage: {} MODEL OUT [LAYERS [DIM [FFN_DIM]]]\n", argv[0]);
    return 2;
  }
  try {
    ModelShape asked = runnel::find_shape("tinyllama-1.1b", "");
    if (argc > 3) asked.n_layers = std::atoi(argv[3]);
    if (argc > 4) asked.dim = std::atoi(argv[4]);
    if (argc > 5) asked.ffn_dim = std::atoi(argv[5]);
    widen(File::open(argv[1]), asked, argv[2]);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
