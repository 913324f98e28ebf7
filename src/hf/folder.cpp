#include "hf/folder.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/half.h"
#include "gguf/writer.h"
#include "hf/config.h"
#include "hf/safetensors.h"
#include "hf/vocabulary.h"
#include "runnel/error.h"

namespace runnel::hf {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// A tensor on its way into the file.
struct Part {
  const TensorRule* rule;
  const Tensor* tensor;
  TensorType type;  // in the file: vectors become F32
};

// Buffers that older versions saved beside the weights.
bool is_buffer(const std::string& name) {
  constexpr std::array<std::string_view, 4> kEndings = {".rotary_emb.inv_freq", ".attention.bias",
                                                        ".attention.masked_bias", ".attn.bias"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

std::vector<Part> parts_of(const std::vector<TensorRule>& rules, const Safetensors& files,
                           const std::string& folder) {
  std::vector<Part> parts;
  std::set<std::string> used;
  for (const TensorRule& rule : rules) {
    const auto found = files.tensors().find(rule.from);
    if (found == files.tensors().end()) {
      if (rule.is_optional) continue;
      throw Error(fmt::format("{}: tensor {} is not there", folder, rule.from));
    }
    const Tensor& tensor = found->second;
    const bool is_sized = std::all_of(tensor.shape.begin(), tensor.shape.end(), [](std::int64_t n) {
      return n > 0 && n <= std::numeric_limits<std::int32_t>::max();
    });
    if (!tensor.type || tensor.shape.empty() || tensor.shape.size() > 2 || !is_sized) {
      throw Error(
          fmt::format("{}: tensor {}: want F32, F16 or BF16 of one or two dimensions, "
                      "found {} of {}",
                      folder, rule.from, tensor.dtype, tensor.shape.size()));
    }
    used.insert(rule.from);
    parts.push_back({&rule, &tensor, tensor.shape.size() == 1 ? TensorType::kF32 : *tensor.type});
  }
  for (const auto& [name, tensor] : files.tensors()) {
    const bool is_known = used.contains(name) || is_buffer(name) || name == "lm_head.weight";
    if (!is_known) throw Error(fmt::format("{}: tensor {}: nobody asked for it", folder, name));
  }
  return parts;
}

// For each row of the file's tensor, the row it comes from.
std::vector<std::size_t> row_order(Change change, const ModelConfig& c, std::size_t n_rows) {
  std::vector<std::size_t> order(n_rows);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (change == Change::kNone || change == Change::kAddOne) return order;
  const std::size_t dim = size(c.head_dim);
  std::size_t at = 0;
  const auto take = [&](std::size_t first) {
    for (std::size_t d = 0; d < dim; ++d) order[at++] = first + d;
  };
  if (change == Change::kPairs) {
    for (std::size_t row = 0; row < n_rows; ++row) {
      const std::size_t in_head = row % dim;
      order[row] = row - in_head + (in_head % 2) * (dim / 2) + in_head / 2;
    }
  } else if (change == Change::kThreeOfHeads) {
    for (std::size_t part = 0; part < 3; ++part)
      for (std::size_t head = 0; head < size(c.n_heads); ++head) take((head * 3 + part) * dim);
  } else {
    const std::size_t n_queries = size(c.n_heads / c.n_kv_heads);
    const std::size_t in_group = (n_queries + 2) * dim;
    for (std::size_t head = 0; head < size(c.n_heads); ++head)
      take(head / n_queries * in_group + head % n_queries * dim);
    for (std::size_t part = 0; part < 2; ++part)
      for (std::size_t group = 0; group < size(c.n_kv_heads); ++group)
        take(group * in_group + (n_queries + part) * dim);
  }
  return order;
}

void check_rows(const Part& part, const ModelConfig& c, const std::string& folder) {
  const Change change = part.rule->change;
  const std::int64_t n_rows = part.tensor->shape[0];
  const std::int64_t n_all = (c.n_heads + 2 * std::int64_t{c.n_kv_heads}) * c.head_dim;
  const bool is_good = change == Change::kPairs ? n_rows % c.head_dim == 0 && c.head_dim % 2 == 0
                       : change == Change::kThreeOfHeads || change == Change::kGroups
                           ? n_rows == n_all && c.n_heads % c.n_kv_heads == 0
                           : true;
  if (!is_good) {
    throw Error(fmt::format("{}: tensor {}: want rows of {} and {} heads of {}, found {}", folder,
                            part.rule->from, c.n_heads, c.n_kv_heads, c.head_dim, n_rows));
  }
}

float value_at(const Tensor& tensor, std::size_t i) {
  if (*tensor.type == TensorType::kF32) {
    float value = 0;
    std::memcpy(&value, tensor.data.data() + i * sizeof(value), sizeof(value));
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, tensor.data.data() + i * sizeof(bits), sizeof(bits));
  return *tensor.type == TensorType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

void write_part(const Part& part, const ModelConfig& config, std::byte* out) {
  const Tensor& tensor = *part.tensor;
  const std::size_t n_rows = size(tensor.shape[0]);
  const std::vector<std::size_t> order = row_order(part.rule->change, config, n_rows);
  if (tensor.shape.size() == 2) {
    const std::size_t row_bytes = n_rows == 0 ? 0 : tensor.data.size() / n_rows;
    for (std::size_t row = 0; row < n_rows; ++row)
      std::memcpy(out + row * row_bytes, tensor.data.data() + order[row] * row_bytes, row_bytes);
    return;
  }
  const float added = part.rule->change == Change::kAddOne ? 1.0f : 0.0f;
  for (std::size_t row = 0; row < n_rows; ++row) {
    const float value = value_at(tensor, order[row]) + added;
    std::memcpy(out + row * sizeof(value), &value, sizeof(value));
  }
}

// Told from its like by the first bytes of each tensor, since the memory of weights that were
// packed is given back: a saved stream asks for its own model.
std::string hash_of(const std::vector<Part>& parts) {
  constexpr std::size_t kSample = 4096;
  XXH64_hash_t hash = 0;
  for (const Part& part : parts)
    hash = XXH3_64bits_withSeed(part.tensor->data.data(),
                                std::min(kSample, part.tensor->data.size()), hash);
  return fmt::format("{:016x}", hash);
}

PageBuffer take_memory(std::size_t n_bytes, const std::string& folder) try {
  return take_pages(n_bytes);
} catch (const std::bad_alloc&) {
  throw Error(
      fmt::format("{}: want {} bytes of memory, and there is not so much", folder, n_bytes));
}

}  // namespace

FileInMemory read_folder(const std::filesystem::path& folder) {
  const std::string name = folder.string();
  gguf::Header header;
  const ModelConfig config = read_config(folder, header);
  header.add("general.name",
             std::filesystem::absolute(folder / "").parent_path().filename().string());
  const Safetensors files(folder);
  const std::vector<TensorRule> rules = tensor_rules(config);
  const std::vector<Part> parts = parts_of(rules, files, name);
  header.add("runnel.weights_hash", hash_of(parts));
  const auto embeddings = std::find_if(parts.begin(), parts.end(), [](const Part& part) {
    return part.rule->to == "token_embd.weight";
  });
  add_vocabulary(folder, static_cast<int>(embeddings->tensor->shape[0]), header);
  for (const Part& part : parts) {
    check_rows(part, config, name);
    std::vector<std::int64_t> shape(part.tensor->shape.rbegin(), part.tensor->shape.rend());
    header.add_tensor(part.rule->to, part.type, shape);
  }
  if (!config.rope_factors.empty())
    header.add_tensor("rope_freqs.weight", TensorType::kF32, {std::ssize(config.rope_factors)});
  const std::string start = header.encode();
  const gguf::Header::TensorPlace& last = header.tensors().back();
  FileInMemory file;
  file.n_bytes = start.size() + last.offset + last.n_bytes;
  file.data = take_memory(file.n_bytes, name);
  std::memcpy(file.data.get(), start.data(), start.size());
  for (std::size_t i = 0; i < parts.size(); ++i)
    write_part(parts[i], config, file.data.get() + start.size() + header.tensors()[i].offset);
  if (!config.rope_factors.empty()) {
    std::memcpy(file.data.get() + start.size() + last.offset, config.rope_factors.data(),
                config.rope_factors.size() * sizeof(float));
  }
  return file;
}

}  // namespace runnel::hf
