// Rotating one head by the angles of a position.
#pragma once

#include "device/terms.h"

namespace runnel::cpu {

// In place: of head [head_dim] the first 2 * n_pairs numbers are rotated.
void rotate(RopeStyle style, int n_pairs, const float* cosines, const float* sines, float* head);

}  // namespace runnel::cpu
