#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "kernels/kernels.h"
#include "model/read_ahead.h"
#include "model/weights.h"

namespace runnel {
namespace {

// Layers [first, end).
struct Layers {
  std::size_t first;
  std::size_t end;
};

// Calls visit for every matrix that products are taken with in these layers, but experts', and for
// those before the first layer and behind the last where these are among them.
template <typename Visit>
void for_each_dense_matrix(Weights& weights, Layers layers, Visit visit) {
  if (layers.first == 0 && weights.layer_inputs.projection.weight)
    visit(weights.layer_inputs.projection.weight);
  for (std::size_t i = layers.first; i < layers.end; ++i) {
    LayerWeights& layer = weights.layers[i];
    DeltaNetWeights& net = layer.delta_net;
    for (Linear* linear : {&layer.q,
                           &layer.k,
                           &layer.v,
                           &layer.output,
                           &layer.router,
                           &layer.shared_gate,
                           &net.qkv,
                           &net.gate,
                           &net.beta,
                           &net.alpha,
                           &net.output,
                           &layer.short_conv.input,
                           &layer.short_conv.output,
                           &layer.ffn.gate,
                           &layer.ffn.up,
                           &layer.ffn.down,
                           &layer.shared.gate,
                           &layer.shared.up,
                           &layer.shared.down,
                           &layer.input.gate,
                           &layer.input.output}) {
      if (linear->weight) visit(linear->weight);
    }
  }
  if (layers.end == weights.layers.size()) visit(weights.output.weight);
}

template <typename Visit>
void for_each_matrix(Weights& weights, Layers layers, Visit visit) {
  for_each_dense_matrix(weights, layers, visit);
  for (std::size_t i = layers.first; i < layers.end; ++i) {
    for (FeedForward& expert : weights.layers[i].experts) {
      for (Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
        if (linear->weight) visit(linear->weight);
      }
    }
  }
}

// The whole pages inside [data, data + n).
void release_pages(const std::byte* data, std::size_t n) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto last = (reinterpret_cast<std::uintptr_t>(data) + n) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::size_t stored_bytes(const Matrix& matrix) {
  return static_cast<std::size_t>(matrix.rows) * matrix.row_bytes();
}

// What is stored of a matrix that is read no more, but as packed or by a device.
void release_stored(const Matrix& matrix, Weights& weights) {
  const bool is_embeddings = matrix.data == weights.embeddings.data;  // rows still looked up there
  if (weights.stored == StoredPages::kStay || (weights.stored == StoredPages::kGo && is_embeddings))
    return;
  const std::size_t n_bytes = stored_bytes(matrix);
  release_pages(matrix.data, n_bytes);
  if (!is_embeddings) weights.released_bytes += n_bytes;
}

// 0 for a matrix that stays as it is.
std::size_t packed_bytes(const Matrix& matrix) {
  return static_cast<std::size_t>(kernels::n_groups(matrix.rows)) *
         kernels::best_table().packed_bytes(matrix.type, matrix.cols);
}

void pack(Matrix& matrix, Weights& weights, ThreadPool& threads) {
  const std::size_t n_packed = packed_bytes(matrix);
  if (n_packed == 0) return;
  const kernels::Table& table = kernels::best_table();
  const std::int64_t n_groups = kernels::n_groups(matrix.rows);
  const std::size_t group_bytes = table.packed_bytes(matrix.type, matrix.cols);
  std::byte* out = weights.packed.take(n_packed);
  const std::int64_t n_tasks = std::min<std::int64_t>(n_groups, 256);
  threads.run(static_cast<int>(n_tasks), [&](int task, int) {
    for (std::int64_t group = task * n_groups / n_tasks; group < (task + 1) * n_groups / n_tasks;
         ++group) {
      table.pack(matrix.type, matrix.data, matrix.rows, matrix.cols, group * kernels::kGroupRows,
                 out + static_cast<std::size_t>(group) * group_bytes);
    }
  });
  use_packed(matrix, out, weights);
}

std::vector<std::span<const std::byte>> stored_parts(Weights& weights, Layers layers) {
  std::vector<std::span<const std::byte>> parts;
  if (weights.stored != StoredPages::kComeBack) return parts;  // they are in memory
  for_each_matrix(weights, layers, [&](const Matrix& matrix) {
    parts.emplace_back(matrix.data, stored_bytes(matrix));
  });
  return parts;
}

// Tells how many stored bytes are done.
class Progress {
 public:
  Progress(Weights& weights, const PackingProgress& report) : report_(report) {
    for_each_matrix(weights, {0, weights.layers.size()},
                    [&](const Matrix& matrix) { n_all_ += stored_bytes(matrix); });
  }
  void add(const Matrix& matrix) {
    n_done_ += stored_bytes(matrix);
    if (report_) report_(n_done_, n_all_);
  }

 private:
  const PackingProgress& report_;
  std::size_t n_done_ = 0;
  std::size_t n_all_ = 0;
};

void pack_layers(Weights& weights, ThreadPool& threads, Layers layers, Progress& progress) {
  std::size_t n_bytes = 0;  // each matrix begins at a multiple of 64
  for_each_matrix(weights, layers,
                  [&](const Matrix& matrix) { n_bytes += packed_bytes(matrix) + 63; });
  if (n_bytes > 0) weights.packed.reserve(n_bytes);
  ReadAhead disk(stored_parts(weights, layers));
  for_each_matrix(weights, layers, [&](Matrix& matrix) {
    pack(matrix, weights, threads);
    disk.done(stored_bytes(matrix));
    progress.add(matrix);
  });
}

// Gives a device what it asks for; false where it reads matrices as they are.
bool give_layers(Weights& weights, Device& device, Layers layers, Progress& progress) {
  if (device.cache_memory() == nullptr) return false;
  for_each_dense_matrix(weights, layers, [&](const Matrix& matrix) {
    const Matrix* const one = &matrix;
    device.take({&one, 1});
    progress.add(matrix);
  });
  for (std::size_t i = layers.first; i < layers.end; ++i) {
    for (const auto linear : {&FeedForward::gate, &FeedForward::up, &FeedForward::down}) {
      std::vector<const Matrix*> together;
      for (const FeedForward& expert : weights.layers[i].experts) {
        if ((expert.*linear).weight) together.push_back(&(expert.*linear).weight);
      }
      if (!together.empty()) device.take(together);
      for (const Matrix* const matrix : together) progress.add(*matrix);
    }
  }
  for_each_matrix(weights, layers, [&](const Matrix& matrix) { release_stored(matrix, weights); });
  return true;
}

}  // namespace

void release_looked_up(const Weights& weights) {
  if (weights.stored != StoredPages::kComeBack) return;
  const Matrix& output = weights.output.weight;
  for (const Matrix& table : {weights.embeddings, weights.layer_inputs.table}) {
    const bool is_multiplied = table.data == output.data && output.packed == nullptr;
    if (table && !is_multiplied) release_pages(table.data, stored_bytes(table));
  }
}

void use_packed(Matrix& matrix, const std::byte* packed, Weights& weights) {
  matrix.packed = packed;
  release_stored(matrix, weights);
}

std::vector<PackedMatrix> packed_matrices(Weights& weights) {
  std::vector<PackedMatrix> found;
  for_each_matrix(weights, {0, weights.layers.size()}, [&](Matrix& matrix) {
    if (const std::size_t n_bytes = packed_bytes(matrix); n_bytes > 0)
      found.push_back({&matrix, n_bytes});
  });
  return found;
}

std::uint64_t device_bytes(Weights& weights, const Device& device, int n_layers) {
  std::uint64_t all = 0;
  for_each_matrix(weights, {0, static_cast<std::size_t>(n_layers)},
                  [&](const Matrix& matrix) { all += device.bytes_of(matrix); });
  return all;
}

void place_weights(Weights& weights, ThreadPool& threads, std::span<const Stage> stages,
                   const PackingProgress& report) {
  Progress progress(weights, report);
  std::size_t first = 0;
  for (const Stage& stage : stages) {
    const Layers layers = {first, first + static_cast<std::size_t>(stage.n_layers)};
    if (!give_layers(weights, *stage.device, layers, progress))
      pack_layers(weights, threads, layers, progress);
    first = layers.end;
  }
}

}  // namespace runnel
