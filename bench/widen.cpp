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

namespace {

using runnel::Error;
using runnel::TensorType;
using runnel::gguf::File;
using runnel::gguf::Header;
using runnel::gguf::Tensor;
using runnel::gguf::Value;
using runnel::gguf::WritableValue;
using runnel::gguf::Writer;

struct Sizes {
  std::int64_t n_layers = 22;
  std::int64_t dim = 2048;
  std::int64_t ffn_dim = 5632;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocabulary_size = 0;
};

struct MatrixOfLayer {
  std::string_view name;
  std::int64_t cols = 0;
  std::int64_t rows = 1;  // 1: a norm
};

std::vector<MatrixOfLayer> matrices_of_layer(const Sizes& s) {
  const std::int64_t q_dim = s.n_heads * s.head_dim;
  const std::int64_t kv_dim = s.n_kv_heads * s.head_dim;
  return {{"attn_norm", s.dim},           {"attn_q", s.dim, q_dim},
          {"attn_k", s.dim, kv_dim},      {"attn_v", s.dim, kv_dim},
          {"attn_output", q_dim, s.dim},  {"ffn_norm", s.dim},
          {"ffn_gate", s.dim, s.ffn_dim}, {"ffn_up", s.dim, s.ffn_dim},
          {"ffn_down", s.ffn_dim, s.dim}};
}

Sizes sizes_of(const File& file) {
  Sizes s;
  s.n_layers = file.get_int("llama.block_count");
  s.dim = file.get_int("llama.embedding_length");
  s.ffn_dim = file.get_int("llama.feed_forward_length");
  s.n_heads = file.get_int("llama.attention.head_count");
  s.n_kv_heads = file.get_int("llama.attention.head_count_kv");
  s.head_dim = s.dim / s.n_heads;
  s.vocabulary_size = static_cast<std::int64_t>(file.get_array("tokenizer.ggml.tokens").size());
  return s;
}

// Heads are added, not made longer, and as many share their keys as before.
Sizes with_heads_of(Sizes wide, const Sizes& small) {
  wide.head_dim = small.head_dim;
  wide.n_heads = wide.dim / small.head_dim;
  wide.n_kv_heads = wide.n_heads * small.n_kv_heads / small.n_heads;
  wide.vocabulary_size = small.vocabulary_size;
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

std::map<std::string_view, WritableValue> new_metadata(const File& file, const Sizes& small,
                                                       const Sizes& wide) {
  constexpr std::string_view kEpsilon = "llama.attention.layer_norm_rms_epsilon";
  const double part = static_cast<double>(small.dim) / static_cast<double>(wide.dim);
  const auto count = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
  return {{"llama.block_count", count(wide.n_layers)},
          {"llama.embedding_length", count(wide.dim)},
          {"llama.feed_forward_length", count(wide.ffn_dim)},
          {"llama.attention.head_count", count(wide.n_heads)},
          {"llama.attention.head_count_kv", count(wide.n_kv_heads)},
          {kEpsilon, static_cast<float>(file.get_float(kEpsilon) * part)}};
}

struct WideTensor {
  std::string name;
  const Tensor* small = nullptr;  // nullptr: all zero
  TensorType type = TensorType::kF32;
  std::int64_t cols = 0;
  std::int64_t rows = 1;
};

std::vector<WideTensor> plan(const File& file, const Sizes& wide) {
  std::vector<WideTensor> tensors;
  const auto add = [&](const std::string& name, std::string_view like, std::int64_t cols,
                       std::int64_t rows) {
    const Tensor* model = file.find_tensor(like);
    if (model == nullptr) throw Error(fmt::format("{}: no tensor {}", file.name(), like));
    tensors.push_back({name, file.find_tensor(name), model->type, cols, rows});
  };
  add("token_embd.weight", "token_embd.weight", wide.dim, wide.vocabulary_size);
  for (std::int64_t layer = 0; layer < wide.n_layers; ++layer) {
    for (const MatrixOfLayer& m : matrices_of_layer(wide)) {
      add(fmt::format("blk.{}.{}.weight", layer, m.name), fmt::format("blk.0.{}.weight", m.name),
          m.cols, m.rows);
    }
  }
  add("output_norm.weight", "output_norm.weight", wide.dim, 1);
  if (file.find_tensor("output.weight") != nullptr)
    add("output.weight", "output.weight", wide.dim, wide.vocabulary_size);
  return tensors;
}

// Zero bytes are zero weights in every type.
void write(Writer& writer, const WideTensor& t, float norm_scale) {
  std::vector<std::byte> row(runnel::bytes_of(t.type, t.cols));
  for (std::int64_t i = 0; i < t.rows; ++i) {
    std::fill(row.begin(), row.end(), std::byte{0});
    if (t.small != nullptr && i < t.small->shape[1]) {
      const std::size_t n_bytes = runnel::bytes_of(t.type, t.small->shape[0]);
      std::memcpy(row.data(), t.small->data.data() + static_cast<std::size_t>(i) * n_bytes,
                  n_bytes);
    }
    if (t.rows == 1) {
      std::vector<float> norm(static_cast<std::size_t>(t.cols));
      std::memcpy(norm.data(), row.data(), row.size());
      for (float& weight : norm) weight *= norm_scale;
      std::memcpy(row.data(), norm.data(), row.size());
    }
    writer.append(t.name, row);
  }
}

void widen(const File& file, const Sizes& asked, const char* out) {
  const Sizes small = sizes_of(file);
  const Sizes wide = with_heads_of(asked, small);
  if (wide.n_layers < small.n_layers || wide.dim < small.dim || wide.ffn_dim < small.ffn_dim)
    throw Error(fmt::format("wanted at least {} layers of {} and {}, found {} of {} and {}",
                            small.n_layers, small.dim, small.ffn_dim, wide.n_layers, wide.dim,
                            wide.ffn_dim));
  Header header;
  const auto replaced = new_metadata(file, small, wide);
  for (const auto& [key, value] : file.metadata()) {
    const auto found = replaced.find(key);
    header.add(key, found != replaced.end() ? found->second : copy_of(value));
  }
  const std::vector<WideTensor> tensors = plan(file, wide);
  for (const WideTensor& t : tensors) {
    if (t.rows == 1)
      header.add_tensor(t.name, t.type, {t.cols});
    else
      header.add_tensor(t.name, t.type, {t.cols, t.rows});
  }
  Writer writer(out, header);
  const double part = static_cast<double>(small.dim) / static_cast<double>(wide.dim);
  for (const WideTensor& t : tensors) write(writer, t, static_cast<float>(std::sqrt(part)));
  writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 6) {
    fmt::print(stderr, "usage: {} MODEL OUT [LAYERS [DIM [FFN_DIM]]]\n", argv[0]);
    return 2;
  }
  try {
    Sizes wide;
    if (argc > 3) wide.n_layers = std::atoll(argv[3]);
    if (argc > 4) wide.dim = std::atoll(argv[4]);
    if (argc > 5) wide.ffn_dim = std::atoll(argv[5]);
    widen(File::open(argv[1]), wide, argv[2]);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
