// What this machine can do at most, measured with the kernels' own instructions on all of the
// model's threads at once: the measure that every speed is stated against.
#pragma once

#include "runnel/runnel.h"

namespace runnel {

struct MachineLimits {
  double read_bytes_per_second = 0;            // memory, large pages, far beyond the caches
  double float_multiply_adds_per_second = 0;   // of floats in registers
  double matrix_multiply_adds_per_second = 0;  // of matrix_numbers, in registers
  const char* matrix_numbers = "";             // "int8" or "bf16"

  void raise_to(const MachineLimits& other);  // the higher of each
};

// Takes about `seconds` for each of the three, and 512 MiB of memory meanwhile.
MachineLimits measure_machine_limits(const Model& model, double seconds = 1);

// What one decoded token reads and what one ingested token multiplies, past the window.
struct TokenWork {
  double read_bytes = 0;            // weights as they lie in memory, and the cache
  double float_multiply_adds = 0;   // the others
  double matrix_multiply_adds = 0;  // with weights that the kernels take int8 or bf16 inputs for
};
TokenWork token_work(const Model& model, const StreamOptions& resolved);

}  // namespace runnel
