#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

// These ask the processor and the operating system both. Every processor with AVX2 has F16C.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

Tables attainable_tables() {
  Tables tables = {{&kPortable}, 1};
  if (has_avx2()) tables.items[tables.size++] = &kAvx2;
  if (has_avx512()) tables.items[tables.size++] = &kAvx512;
  if (!has_avx512() || !__builtin_cpu_supports("avx512bf16")) return tables;
  tables.items[tables.size++] = &kAvx512Bf16;
  if (may_use_tiles()) tables.items[tables.size++] = &kAmx;
  return tables;
}

}  // namespace runnel::kernels
