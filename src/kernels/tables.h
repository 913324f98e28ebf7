// The tables themselves, each exported by the one file that is compiled for its instruction set.
#pragma once

#include "kernels/kernels.h"

namespace runnel::kernels {

extern const Table kPortable;
extern const Table kAvx2;
extern const Table kAvx512;
extern const Table kAvx512Bf16;
extern const Table kAmx;

// Whether this process may use the matrix unit's tiles: the processor has them, and the system,
// asked here, grants the memory that keeps them when a thread is put aside.
bool may_use_tiles();

}  // namespace runnel::kernels
