// Products, cut into groups of rows, and the inputs they want.
#include <algorithm>
#include <bit>

#include "device/cpu/group_tasks.h"

namespace runnel::cpu {

void CpuOperations::multiply(const Input& input, std::span<const Product> products) {
  constexpr std::size_t kMost = 8;
  kernels::Matmul tasks[kMost];
  const float* x = input_of(input);
  for (std::size_t first = 0; first < products.size(); first += kMost) {
    const std::size_t n = std::min(kMost, products.size() - first);
    for (std::size_t i = 0; i < n; ++i) {
      const Product& p = products[first + i];
      tasks[i] = product_of(*p.linear, x, n_rows(), at(p.y));
    }
    multiply(std::span(tasks, n));
  }
  done(StepPart::kProject);
}

// Several products of the same inputs in one parallel run, each cut into groups of rows.
void CpuOperations::multiply(std::span<kernels::Matmul> products) {
  prepare_inputs(products);
  std::int64_t n_groups = 0;
  for (const kernels::Matmul& m : products) n_groups += kernels::n_groups(m.w.rows);
  const auto run = [&](std::int64_t first, std::int64_t last, int thread) {
    for (const kernels::Matmul& m : products) {
      const std::int64_t n = kernels::n_groups(m.w.rows);
      if (first < n && last > 0) multiply_groups(m, std::max<std::int64_t>(first, 0), last, thread);
      first -= n;
      last -= n;
    }
  };
  run_groups(n_groups, 1, group_bytes(products.front().w), products.front().n_tokens, run);
}

// The groups of rows [first, last), or as many of them as there are.
void CpuOperations::multiply_groups(const kernels::Matmul& m, std::int64_t first, std::int64_t last,
                                    int thread) {
  kernels_.matmul(m, first * kernels::kGroupRows, std::min(m.w.rows, last * kernels::kGroupRows),
                  scratch_of(thread));
}

// What the kernels make of the inputs, once for all the products, if it is not made yet.
void CpuOperations::prepare_inputs(std::span<kernels::Matmul> products) {
  if (products.front().inputs != nullptr) return;
  unsigned forms = 0;
  for (const kernels::Matmul& m : products) forms |= kernels_.wanted_inputs(m.w);
  if (forms == 0) return;
  const kernels::Matmul& m = products.front();
  std::byte* inputs = inputs_.get();
  constexpr int kTogether = kernels::kInputGroup;  // tokens that share cache lines of inputs
  threads_.run((m.n_tokens + kTogether - 1) / kTogether, [&](int task, int) {
    const int end = std::min(m.n_tokens, (task + 1) * kTogether);
    for (int t = task * kTogether; t < end; ++t) {
      note_numbers(m.x + t * m.x_stride, m.w.cols);
      kernels_.prepare(forms, m.x + t * m.x_stride, m.w.cols, 0, m.w.cols, t, m.n_tokens, inputs);
    }
  });
  for (kernels::Matmul& product : products) product.inputs = inputs;
  done(StepPart::kInputs);
}

// The product with room for its inputs, if tasks that make some multiple of `n_columns` columns of
// x can prepare them at once, while they are near, by prepare_part().
kernels::Matmul CpuOperations::with_parts(kernels::Matmul product, std::int64_t n_columns,
                                          std::byte* inputs) {
  const bool wants_parts = kernels_.wanted_inputs(product.w) != 0;
  if (wants_parts && n_columns % kernels_.input_columns == 0) product.inputs = inputs;
  return product;
}

// Infinities and what is no number have the largest magnitudes, read as integers.
void CpuOperations::note_numbers(const float* x, std::int64_t n) const {
  constexpr std::int32_t kInfinity = 0x7f800000;
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i)
    largest = std::max(largest, std::bit_cast<std::int32_t>(x[i]) & 0x7fffffff);
  if (largest >= kInfinity) met_nonfinite_ = true;
}

// The columns [first, last) of a row of x.
void CpuOperations::prepare_part(const kernels::Matmul& m, int row, std::int64_t first,
                                 std::int64_t last) const {
  if (m.inputs == nullptr) return;
  note_numbers(m.x + row * m.x_stride + first, last - first);
  kernels_.prepare(kernels_.wanted_inputs(m.w), m.x + row * m.x_stride, m.w.cols, first, last, row,
                   m.n_tokens, m.inputs);
}

}  // namespace runnel::cpu
