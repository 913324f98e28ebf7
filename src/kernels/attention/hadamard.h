// The Hadamard rotation: orthogonal, its own inverse, and n log n additions. What few dimensions of
// a vector hold is spread over all, so that quantised blocks of it have no outliers; products of
// two vectors that are both rotated stay as they are (QuaRot, arXiv 2404.00456).
#pragma once

namespace runnel::kernels {

// In place, of x [n]. Where n is no power of two: each stretch of the largest power of two that
// divides it by itself (80: five of 16).
void hadamard(float* x, int n);

}  // namespace runnel::kernels
