#include "serve/protocols/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "engine/internals.h"

namespace runnel::serve {
namespace {

// general.file_type, where its number says more than the type of the weights.
std::string_view mixture_name(std::int64_t file_type) {
  constexpr std::array<std::string_view, 9> kMixtures = {
      "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS"};
  constexpr std::int64_t kFirst = 11;
  const std::int64_t i = file_type - kFirst;
  return i >= 0 && i < std::ssize(kMixtures) ? kMixtures[static_cast<std::size_t>(i)] : "";
}

std::string quantization_of(const gguf::File& file) {
  std::map<TensorType, std::int64_t> n_weights;
  for (const gguf::Tensor& tensor : file.tensors()) n_weights[tensor.type] += tensor.n_elements();
  if (n_weights.empty()) return "";
  const auto most =
      std::max_element(n_weights.begin(), n_weights.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  const std::string name(traits(most->first).name);
  const gguf::Value* const given = file.find("general.file_type");
  const std::string_view mixture = mixture_name(given ? given->as_int().value_or(-1) : -1);
  return mixture.starts_with(name) ? std::string(mixture) : name;
}

}  // namespace

std::string short_count(std::int64_t n) {
  const auto in = [n](double unit) { return static_cast<double>(n) / unit; };
  if (n >= 1000000000) return fmt::format("{:.1f}B", in(1e9));
  if (n >= 1000000) return fmt::format("{:.2f}M", in(1e6));
  if (n >= 1000) return fmt::format("{:.0f}K", in(1e3));
  return std::to_string(n);
}

ModelFile file_of(const Model& model) {
  constexpr std::int64_t kNanoseconds = 1000000000;
  const gguf::File& file = model.internals().file;
  std::int64_t n_parameters = 0;
  for (const gguf::Tensor& tensor : file.tensors()) n_parameters += tensor.n_elements();
  return {.bytes = file.size_bytes(),
          .changed = file.changed() / kNanoseconds,
          .n_parameters = short_count(n_parameters),
          .quantization = quantization_of(file)};
}

}  // namespace runnel::serve
