// The bundled model with changes, as a file: for tests of what odd files do.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "support/paths.h"

namespace runnel::test {

struct EditedTensor {
  std::string name;
  TensorType type;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};

struct ModelEdit {
  std::map<std::string, gguf::WritableValue> metadata;  // set, or added
  std::set<std::string> dropped;                        // keys
  // Changes a tensor; false: leaves it out.
  std::function<bool(EditedTensor&)> tensor = [](EditedTensor&) { return true; };
};

inline std::optional<gguf::WritableValue> writable(const gguf::Value& value) {
  if (const auto number = value.as_bool()) return *number;
  if (const auto number = value.as_int()) return *number;
  if (const auto number = value.as_float()) return static_cast<float>(*number);
  if (const auto text = value.as_string()) return std::string(*text);
  const gguf::Array* array = value.as_array();
  if (array == nullptr) return std::nullopt;
  if (const auto strings = array->strings())
    return std::vector<std::string>(strings->begin(), strings->end());
  if (const auto floats = array->floats()) return *floats;
  if (const auto ints = array->ints()) return *ints;
  return std::nullopt;
}

inline void write_edited(const std::filesystem::path& to, const ModelEdit& edit) {
  const gguf::File file = gguf::File::open(bundled_model());
  gguf::Header header;
  for (const auto& [key, value] : file.metadata()) {
    const bool is_kept =
        edit.metadata.count(std::string(key)) + edit.dropped.count(std::string(key)) == 0;
    if (const auto kept = writable(value); is_kept && kept) header.add(key, *kept);
  }
  for (const auto& [key, value] : edit.metadata) header.add(key, value);
  std::vector<EditedTensor> tensors;
  for (const gguf::Tensor& t : file.tensors()) {
    EditedTensor tensor = {std::string(t.name),
                           t.type,
                           {t.shape.begin(), t.shape.begin() + t.n_dims},
                           {t.data.begin(), t.data.end()}};
    if (edit.tensor(tensor)) tensors.push_back(std::move(tensor));
  }
  for (const EditedTensor& t : tensors) header.add_tensor(t.name, t.type, t.shape);
  gguf::Writer writer(to, header);
  for (const EditedTensor& t : tensors) writer.append(t.name, t.data);
  writer.finish();
}

// The strings of a list in the bundled model.
inline std::vector<std::string> bundled_strings(const std::string& key) {
  const gguf::File file = gguf::File::open(bundled_model());
  const auto strings = file.get_array(key).strings();
  return {strings->begin(), strings->end()};
}

}  // namespace runnel::test
