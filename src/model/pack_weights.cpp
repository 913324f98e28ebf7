#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "kernels/kernels.h"
#include "model/weights.h"

namespace runnel {
namespace {

// Calls visit for every matrix that products are taken with.
template <typename Visit>
void for_each_matrix(Weights& weights, Visit visit) {
  const auto visit_ffn = [&](FeedForward& ffn) {
    for (Linear* linear : {&ffn.gate, &ffn.up, &ffn.down}) visit(linear->weight);
  };
  for (LayerWeights& layer : weights.layers) {
    DeltaNetWeights& net = layer.delta_net;
    for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.output, &layer.router,
                           &layer.shared_gate, &net.qkv, &net.gate, &net.beta, &net.alpha,
                           &net.output, &layer.short_conv.input, &layer.short_conv.output})
      visit(linear->weight);
    visit_ffn(layer.ffn);
    visit_ffn(layer.shared);
    for (FeedForward& expert : layer.experts) visit_ffn(expert);
  }
  visit(weights.output.weight);
}

// The whole pages inside [data, data + n).
void release_pages(const std::byte* data, std::size_t n) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto last = (reinterpret_cast<std::uintptr_t>(data) + n) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

// 0 for a matrix that stays as it is.
std::size_t packed_bytes(const Matrix& matrix) {
  if (!matrix) return 0;
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
  matrix.packed = out;
  const bool is_embeddings = matrix.data == weights.embeddings.data;  // rows still looked up there
  if (weights.stored == StoredPages::kStay || (weights.stored == StoredPages::kGo && is_embeddings))
    return;
  const std::size_t n_bytes = static_cast<std::size_t>(matrix.rows) * matrix.row_bytes();
  release_pages(matrix.data, n_bytes);
  if (!is_embeddings) weights.released_bytes += n_bytes;
}

}  // namespace

void pack_weights(Weights& weights, ThreadPool& threads, const PackingProgress& progress) {
  std::size_t n_bytes = 0;  // each matrix begins at a multiple of 64
  for_each_matrix(weights, [&](const Matrix& matrix) { n_bytes += packed_bytes(matrix) + 63; });
  if (n_bytes > 0) weights.packed.reserve(n_bytes);
  std::size_t n_done = 0;
  for_each_matrix(weights, [&](Matrix& matrix) {
    pack(matrix, weights, threads);
    n_done += packed_bytes(matrix) + 63;
    if (progress) progress(n_done, n_bytes);
  });
}

}  // namespace runnel
