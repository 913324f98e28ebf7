#include <cpuid.h>

#include "kernels/tables/asks_ahead.h"
#include "kernels/tables/runs.h"
#include "kernels/tables/tile_permission.h"

namespace runnel::kernels {

bool asks_ahead() { return __builtin_cpu_is("intel") != 0; }

}  // namespace runnel::kernels

namespace runnel::kernels::runs {

// Every processor with AVX2 has F16C.
bool avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID.
bool avx_vnni() {
  constexpr unsigned kAvxVnni = 1u << 4;  // CPUID 7.1, eax
  unsigned a = 0, b = 0, c = 0, d = 0;
  return avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kAvxVnni) != 0;
}

bool avx512() {
  return avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

bool avx512_bf16() { return avx512() && __builtin_cpu_supports("avx512bf16"); }

bool amx() { return avx512_bf16() && may_use_tiles(); }

}  // namespace runnel::kernels::runs
