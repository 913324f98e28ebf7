#include <sys/auxv.h>

#include "kernels/tables/runs.h"

namespace runnel::kernels::runs {

// Source: Linux kernel documentation, "ARM64 ELF hwcaps".
bool dotprod() {
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  return (::getauxval(AT_HWCAP) & kDotProducts) != 0;
}

bool i8mm() {
  constexpr unsigned long kBlocksOfBytes = 1ul << 13;  // HWCAP2_I8MM
  return dotprod() && (::getauxval(AT_HWCAP2) & kBlocksOfBytes) != 0;
}

}  // namespace runnel::kernels::runs
