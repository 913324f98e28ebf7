// What the files of one table give each other. Each table is compiled from the same few files with
// its own flags (cmake/kernels.cmake), and lies in a namespace of its own, RUNNEL_TABLE, which is
// also its name; nothing outside that namespace may leave its objects.
#pragma once

#include "kernels/kernels.h"

namespace runnel::kernels::RUNNEL_TABLE {

// Products of packed weights: Table::matmul for small blocks and for the K types.
void multiply_blocks(const Matmul& task, std::int64_t first_row, std::int64_t last_row,
                     std::byte* scratch);
void multiply_k_blocks(const Matmul& task, std::int64_t first_row, std::int64_t last_row,
                       std::byte* scratch);

// Table::attend.
void attend(const Attention& task, const QueryRow* rows, int n_rows, std::byte* scratch);
std::size_t attention_scratch_bytes(int head_dim);

extern const Table kTable;

}  // namespace runnel::kernels::RUNNEL_TABLE
