// The metadata and the tensors of a made model: what its shape and its architecture ask for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/tensor_type.h"
#include "gguf/writer.h"
#include "model/make_model.h"

namespace runnel {

struct PlannedTensor {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;  // shape[0] is the length of a row
  // Values are random around `mean`, or these (F32).
  float mean = 0;
  float deviation = 0;
  std::vector<float> values = {};

  std::int64_t n_elements() const;
};

struct ModelPlan {
  gguf::Header header;                 // all metadata, and the tensors
  std::vector<PlannedTensor> tensors;  // in the order of the header
};

// Error: an architecture that is not supported, or a shape without the sizes it needs.
ModelPlan plan_model(const ModelShape& shape, const StorageType& type);

}  // namespace runnel
