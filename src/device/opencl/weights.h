// A model's weights on the device. Quantised matrices lie as packed.h says, which suits a device as
// well: sixteen rows side by side, so that sixteen work-items read a line of memory together.
// Floats are laid out alike.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "device/opencl/context.h"
#include "kernels/kernels.h"

namespace runnel::opencl {

struct DeviceMatrix {
  std::string options;        // of product.cl
  bool is_quantised = false;  // takes inputs as int8, not as floats
  int rows = 0;
  int chunks = 0;  // of 32 columns
  Buffer data;
};

// Bytes of a matrix on the device.
std::uint64_t bytes_of(const kernels::Matrix& matrix);

// Options for the plainest form, Q8_0's.
extern const char* const kPlainForm;

class WeightStore {
 public:
  explicit WeightStore(Context& context) : context_(context) {}

  // Several are laid one after the other. Error: not so much memory.
  void take(std::span<const kernels::Matrix* const> matrices);
  const DeviceMatrix& matrix(const kernels::Matrix& first) const;
  // Copied at the first call; the numbers must stay where they are. Empty: some buffer.
  const Buffer& vector(std::span<const float> numbers);
  // The same for several one after the other.
  const Buffer& vectors(std::span<const std::span<const float>> all);

 private:
  Context& context_;
  std::map<const std::byte*, DeviceMatrix> matrices_;
  std::map<const float*, Buffer> vectors_;
};

}  // namespace runnel::opencl
