#include "device/opencl/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/pack/packed.h"
#include "runnel/error.h"

namespace runnel::opencl {

using kernels::kGroupRows;

const char* const kPlainForm =
    "-DBITS=8 -DBLOCK=32 -DSUBS=1 -DSCALES=0 -DMINIMUMS=0 -DOFFSET=128 -DADDS_MINIMUM=0 -DE2M1=0";

namespace {

constexpr std::size_t kStagingBytes = std::size_t{8} << 20;

std::string options_of(const kernels::PackedFormat& f) {
  return fmt::format(
      "-DBITS={} -DBLOCK={} -DSUBS={} -DSCALES={} -DMINIMUMS={} -DOFFSET={} -DADDS_MINIMUM={} "
      "-DE2M1={}",
      f.bits, f.block, f.subs(), int{f.has_scales}, int{f.has_minimums}, f.offset,
      int{f.adds_minimum}, int{f.is_e2m1});
}

const char* float_options(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return "-DFLOAT_BITS=32";
    case TensorType::kF16:
      return "-DFLOAT_BITS=16";
    case TensorType::kBF16:
      return "-DFLOAT_BITS=16 -DBFLOAT";
    default:
      throw Error(
          fmt::format("OpenCL devices do not multiply with {} matrices: want floats, Q types, "
                      "K types, MXFP4, IQ4 or IQ3 types",
                      traits(type).name));
  }
}

std::size_t group_bytes_of(const kernels::Matrix& m) {
  if (const auto format = kernels::packed_format(m.type))
    return kernels::packed_group_bytes(*format, m.cols);
  const std::int64_t chunks = (m.cols + 31) / 32;
  return size(chunks * 32 * kGroupRows) * (m.type == TensorType::kF32 ? 4 : 2);
}

// Sixteen rows of floats: [chunk][column][row], halves [chunk][pair of columns][row][2]; zeros fill
// up.
void lay_floats(const kernels::Matrix& m, std::int64_t first_row, std::byte* out) {
  const std::size_t element = m.type == TensorType::kF32 ? 4 : 2;
  const std::int64_t together = m.type == TensorType::kF32 ? 1 : 2;
  const std::int64_t last_row = std::min(m.rows, first_row + kGroupRows);
  for (std::int64_t row = first_row; row < last_row; ++row) {
    const std::byte* from = m.data + size(row) * m.row_bytes();
    for (std::int64_t col = 0; col < m.cols; ++col) {
      const std::int64_t at =
          (col / together * kGroupRows + row - first_row) * together + col % together;
      std::memcpy(out + size(at) * element, from + size(col) * element, element);
    }
  }
}

}  // namespace

std::uint64_t bytes_of(const kernels::Matrix& matrix) {
  return size(kernels::n_groups(matrix.rows)) * group_bytes_of(matrix);
}

void WeightStore::take(std::span<const kernels::Matrix* const> matrices) {
  const kernels::Matrix& first = *matrices.front();
  if (matrices_.contains(first.data)) return;  // tied
  const auto format = kernels::packed_format(first.type);
  const std::int64_t chunks = (first.cols + 31) / 32;
  const std::size_t group_bytes = group_bytes_of(first);
  const std::int64_t n_groups = kernels::n_groups(first.rows);
  DeviceMatrix taken = {.options = format ? options_of(*format) : float_options(first.type),
                        .is_quantised = format.has_value(),
                        .rows = static_cast<int>(first.rows),
                        .chunks = static_cast<int>(chunks),
                        .data = context_.take(size(n_groups) * group_bytes * matrices.size())};
  const std::int64_t at_once =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(kStagingBytes / group_bytes), 1, n_groups);
  std::vector<std::byte> staging;
  std::size_t offset = 0;
  for (const kernels::Matrix* const matrix : matrices) {
    for (std::int64_t group = 0; group < n_groups; group += at_once) {
      const std::int64_t n = std::min(at_once, n_groups - group);
      staging.assign(size(n) * group_bytes, std::byte{0});
      for (std::int64_t i = 0; i < n; ++i) {
        std::byte* out = staging.data() + size(i) * group_bytes;
        const std::int64_t row = (group + i) * kGroupRows;
        format
            ? kernels::pack_group(matrix->type, matrix->data, matrix->rows, matrix->cols, row, out)
            : lay_floats(*matrix, row, out);
      }
      context_.write(taken.data, offset, staging);
      offset += staging.size();
    }
  }
  matrices_.emplace(first.data, std::move(taken));
}

const DeviceMatrix& WeightStore::matrix(const kernels::Matrix& first) const {
  const auto found = matrices_.find(first.data);
  if (found == matrices_.end()) std::abort();  // an operation with a matrix nobody gave
  return found->second;
}

const Buffer& WeightStore::vector(std::span<const float> numbers) {
  return vectors(std::span(&numbers, 1));
}

const Buffer& WeightStore::vectors(std::span<const std::span<const float>> all) {
  const float* const key = all.front().data();
  const auto found = vectors_.find(key);
  if (found != vectors_.end()) return found->second;
  std::size_t n_bytes = 0;
  for (const auto& numbers : all) n_bytes += numbers.size_bytes();
  Buffer buffer = context_.take(n_bytes);
  std::size_t offset = 0;
  for (const auto& numbers : all) {
    context_.write(buffer, offset, std::as_bytes(numbers));
    offset += numbers.size_bytes();
  }
  return vectors_.emplace(key, std::move(buffer)).first->second;
}

}  // namespace runnel::opencl
