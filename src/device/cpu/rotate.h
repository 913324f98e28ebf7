// Rotating one head by the angles of a position.
#pragma once

#include "device/operations.h"

namespace runnel::cpu {

// In place: of head [head_dim] the first 2 * n_pairs numbers are rotated.
void rotate(RopeStyle style, int n_pairs, const float* cosines, const float* sines, float* head);

// The same with the layer's rotated_weights (weighted_rotation.cpp), for the window and for the
// sinks; `at`: where the row's angles begin.
void rotate_with_weights(const AttentionLayer& layer, const AngleTable& angles, std::size_t at,
                         bool is_shifted, float* query, float* sink_query);

}  // namespace runnel::cpu
