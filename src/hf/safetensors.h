// The tensors of a folder as transformers saves a model: model.safetensors, or the files that
// model.safetensors.index.json names. Mapped, not read; every length is checked before it is used.
// Format: the safetensors README of Hugging Face.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/tensor_type.h"

namespace runnel::hf {

struct Tensor {
  std::string dtype;               // as the file has it: "BF16"
  std::optional<TensorType> type;  // none for another than F32, F16 and BF16
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
};

class Safetensors {
 public:
  // Error: no such files, or damaged ones.
  explicit Safetensors(const std::filesystem::path& folder);
  Safetensors(Safetensors&&) noexcept;
  ~Safetensors();

  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

 private:
  struct Mapping;
  void add(const std::filesystem::path& path);

  std::vector<std::unique_ptr<Mapping>> files_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace runnel::hf
