// The tables themselves, each exported by the one file that is compiled for its instruction set.
#pragma once

#include "kernels/kernels.h"

namespace runnel::kernels {

extern const Table kPortable;
extern const Table kAvx2;
extern const Table kAvx512;

}  // namespace runnel::kernels
