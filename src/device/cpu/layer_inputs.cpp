// What tokens have for each layer beside their embedding, and how a layer takes it.
#include <array>
#include <cmath>
#include <numbers>

#include "device/cpu/cpu_operations.h"
#include "kernels/pack/dequantize.h"

namespace runnel::cpu {

// The product is divided by sqrt(dim) before its norm; for the norm that is a larger epsilon.
void CpuOperations::layer_inputs(const LayerInputWeights& weights, float norm_epsilon, Rows x,
                                 Rows inputs) {
  multiply({x, {}}, std::array{Product{&weights.projection, inputs}});
  const auto width = static_cast<int>(weights.norm.weight.size());
  const float table_scale = std::sqrt(static_cast<float>(width));
  const float epsilon = norm_epsilon * static_cast<float>(x.width);
  threads_.run(n_rows(), [&](int row, int thread) {
    float* of_table = &table_rows_[size(thread) * size(inputs.width)];
    const Matrix& table = weights.table;
    kernels::dequantize_row(table.type,
                            table.data + size(step_.rows[size(row)].token) * table.row_bytes(),
                            of_table, inputs.width);
    float* out = at(inputs, row);
    for (int first = 0; first < inputs.width; first += width)
      kernels_.rms_norm(out + first, weights.norm.weight.data(), epsilon, out + first, width);
    for (int i = 0; i < inputs.width; ++i)
      out[i] = (out[i] + table_scale * of_table[i]) / std::numbers::sqrt2_v<float>;
  });
  done(StepPart::kEmbed);
}

void CpuOperations::add_layer_input(const LayerInput& weights, int first, Rows inputs,
                                    const Residual& residual) {
  const int n = n_rows();
  const auto width = static_cast<int>(weights.gate.weight.rows);
  multiply(std::array{product_of(weights.gate, at(residual.x), n, gate_.data())});
  threads_.run(n, [&](int row, int) {
    float* gate = &gate_[size(row) * size(width)];
    kernels_.gelu(gate, at(inputs, row) + first, gate, width);
  });
  multiply(std::array{product_of(weights.output, gate_.data(), n, update_.data())});
  done(StepPart::kProject);
  add(residual, update_.data());
}

}  // namespace runnel::cpu
