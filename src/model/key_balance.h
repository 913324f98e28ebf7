// What a rotated cache's keys are multiplied with before they become codes, and queries divided by.
//
// The Hadamard matrix spreads a key's error e evenly over its dimensions, so of a score q . k the
// variance is  |q|^2 |e|^2 / n,  and |e| goes with |k|. Where queries are large in dimensions in
// which keys are small (Qwen 2.5, by its biases), factors s_d make both alike: of
//
//   sum q_d^2 / s_d^2  *  sum k_d^2 s_d^2     the least is at     s_d^2 = |q_d| / |k_d|.
//
// Both sizes are expected ones, by the weights alone: those of the norm that a query or key ends
// with, or else the rows that make it from normalised inputs. Dimensions that rotate together have
// one factor, so that the rotation stays what it is.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/weights.h"

namespace runnel {

// By layer: [n_kv_heads, head_dim]; empty where a layer keeps no keys, or its weights are gone.
std::vector<std::vector<float>> key_balances(const Config& config, const Weights& weights);

}  // namespace runnel
