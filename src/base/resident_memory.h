// How much memory this process takes.
#pragma once

#include <cstddef>

namespace runnel {

// Bytes that are in memory now; 0: unknown.
std::size_t resident_bytes();

}  // namespace runnel
