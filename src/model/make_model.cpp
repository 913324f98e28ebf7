#include "model/make_model.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "model/random_weights.h"
#include "model/tensor_plan.h"

namespace runnel {
namespace {

constexpr std::int64_t kPieceElements = 1 << 20;  // a whole number of blocks of every type

// FNV-1a.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Calls take(bytes) with one piece of the tensor's data after the other.
template <typename Take>
void generate(const PlannedTensor& tensor, std::uint64_t seed, std::vector<std::byte>& piece,
              Take take) {
  if (!tensor.values.empty()) return take(std::as_bytes(std::span(tensor.values)));
  WeightRandom random(hash_of(tensor.name) ^ (seed * 0x9e3779b97f4a7c15u));
  for (std::int64_t rest = tensor.n_elements(); rest > 0; rest -= kPieceElements) {
    const std::int64_t n = std::min(rest, kPieceElements);
    piece.resize(bytes_of(tensor.type, n));
    random_weights(tensor.type, tensor.deviation, random, piece.data(), n);
    if (tensor.mean != 0) {  // F32 only: norms
      for (std::int64_t i = 0; i < n; ++i) {
        float value;
        std::byte* at = piece.data() + static_cast<std::size_t>(i) * sizeof value;
        std::memcpy(&value, at, sizeof value);
        value += tensor.mean;
        std::memcpy(at, &value, sizeof value);
      }
    }
    take(std::span<const std::byte>(piece));
  }
}

}  // namespace

void make_model(const ModelShape& shape, StorageType type, std::uint64_t seed,
                const std::filesystem::path& out) {
  const ModelPlan plan = plan_model(shape, type);
  gguf::Writer writer(out, plan.header);
  std::vector<std::byte> piece;
  for (const PlannedTensor& tensor : plan.tensors) {
    generate(tensor, seed, piece,
             [&](std::span<const std::byte> bytes) { writer.append(tensor.name, bytes); });
  }
  writer.finish();
}

MadeModel make_model(const ModelShape& shape, StorageType type, std::uint64_t seed) {
  const ModelPlan plan = plan_model(shape, type);
  const std::string header = plan.header.encode();
  const gguf::Header::TensorPlace& last = plan.header.tensors().back();
  MadeModel model;
  model.n_bytes = header.size() + last.offset + last.n_bytes;
  model.data = take_pages(model.n_bytes);
  std::memcpy(model.data.get(), header.data(), header.size());
  std::vector<std::byte> piece;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    std::byte* at = model.data.get() + header.size() + plan.header.tensors()[i].offset;
    generate(plan.tensors[i], seed, piece, [&](std::span<const std::byte> bytes) {
      std::memcpy(at, bytes.data(), bytes.size());
      at += bytes.size();
    });
  }
  return model;
}

}  // namespace runnel
