#pragma once

namespace runnel::kernels {

// Whether this process may use the matrix unit's tiles: the processor has them, and the system,
// asked here, grants the memory that keeps them when a thread is put aside.
bool may_use_tiles();

}  // namespace runnel::kernels
