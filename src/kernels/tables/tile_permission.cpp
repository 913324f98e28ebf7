// A file of its own, so that a test can put an emulated matrix unit in its place.
#include "kernels/tables/tile_permission.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace runnel::kernels {

// Source: Linux kernel documentation, "Using XSTATE features in user space applications".
bool may_use_tiles() {
  constexpr unsigned kAmxTile = 1u << 24;  // CPUID 7.0, edx
  constexpr unsigned kAmxBfloat16 = 1u << 22;
  constexpr unsigned kAmxInt8 = 1u << 25;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAll = kAmxTile | kAmxBfloat16 | kAmxInt8;
  if ((d & kAll) != kAll) return false;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace runnel::kernels
