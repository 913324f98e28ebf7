// Whether a table runs here, by its name: processor and operating system are asked both.
#pragma once

namespace runnel::kernels::runs {

inline bool portable() { return true; }
bool avx2();
bool avx_vnni();
bool avx512();
bool avx512_bf16();
bool amx();
bool dotprod();  // of 64-bit ARM
bool i8mm();

}  // namespace runnel::kernels::runs
