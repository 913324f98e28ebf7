# The kernels' tables. Each is made from the same few files, compiled with the flags of its instruction set into objects
# of their own (src/kernels/README.md); nothing else in the library is compiled with them, so no other code can pick an
# instruction the machine lacks. A list of the tables that were compiled is the header kernels/tables/built.h.
set(RUNNEL_KERNELS all CACHE STRING "Tables to compile: all, or native: the best for this machine")
set_property(CACHE RUNNEL_KERNELS PROPERTY STRINGS all native)
option(RUNNEL_PORTABLE "Leave out the kernels of instruction sets that not every processor has" OFF)

# Always optimised: kernels without inlining would take minutes to test.
set(RUNNEL_KERNEL_FLAGS -O3 -ffp-contract=fast -fno-exceptions)
if(RUNNEL_SANITIZE)  # checks of every operation in code so unrolled take a compiler many minutes
  list(APPEND RUNNEL_KERNEL_FLAGS -O1 -fno-sanitize=undefined)
endif()
set(avx2_flags -mavx2 -mfma -mf16c -mbmi2)
# g++ 12 takes the undefined operand inside its own AVX-512 header for an uninitialised variable.
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mprefer-vector-width=512
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized> $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>)

# The parts of which a table is made.
set(int8_parts products/packed_blocks products/packed_k_blocks attention/float_attention tables/int8_table)
set(pair_parts products/packed_blocks products/packed_k_blocks attention/pair_attention tables/pair_table)
set(matrix_parts products/span_blocks products/span_k_blocks attention/matrix_attention tables/matrix_table)

# The tables of x86, each better than those before it: the file of src/kernels/vectors that says what the machine has,
# the parts, the compiler's flags, and what Linux calls the instructions.
set(avx2_table avx2 int8_parts)
set(avx2_needs avx2 fma f16c)
set(avx_vnni_table avx_vnni int8_parts)
set(avx_vnni_flags ${avx2_flags} -mavxvnni)
set(avx_vnni_needs ${avx2_needs} avx_vnni)
set(avx512_table avx512 int8_parts)
set(avx512_needs ${avx2_needs} avx512f avx512bw avx512dq avx512vl avx512_vnni)
set(avx512_bf16_table avx512 pair_parts)
set(avx512_bf16_flags ${avx512_flags} -mavx512bf16)
set(avx512_bf16_needs ${avx512_needs} avx512_bf16)
set(amx_table avx512 matrix_parts)
set(amx_flags ${avx512_bf16_flags} -mamx-tile -mamx-bf16 -mamx-int8)
set(amx_needs ${avx512_bf16_needs} amx_tile amx_int8 amx_bf16)
set(portable_table portable int8_parts)
set(tables portable avx2 avx_vnni avx512 avx512_bf16 amx)

# Those of 64-bit ARM.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(dotprod_table arm_dots int8_parts)
  set(dotprod_flags -march=armv8.2-a+dotprod)
  set(dotprod_needs asimddp)
  set(i8mm_table arm_dots int8_parts)
  set(i8mm_flags -march=armv8.2-a+dotprod+i8mm)
  set(i8mm_needs ${dotprod_needs} i8mm)
  set(tables portable dotprod i8mm)
elseif(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(tables portable)
endif()

if(RUNNEL_PORTABLE)
  set(tables portable)
elseif(RUNNEL_KERNELS STREQUAL native AND NOT CMAKE_CROSSCOMPILING AND EXISTS /proc/cpuinfo)
  file(STRINGS /proc/cpuinfo has REGEX "^(flags|Features)" LIMIT_COUNT 1)
  string(REGEX REPLACE "[ \t]+" ";" has "${has}")
  foreach(table ${tables})
    set(missing ${${table}_needs})
    list(REMOVE_ITEM missing ${has})
    if(NOT missing)
      set(best ${table})  # portable, at least, needs nothing
    endif()
  endforeach()
  set(tables ${best})
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")  # for old processors: half the time to compile, a seventh slower
  set(portable_flags -O2)
endif()

set(RUNNEL_BUILT_TABLES "")
foreach(table ${tables})
  list(GET ${table}_table 0 vectors)
  list(GET ${table}_table 1 parts)
  list(TRANSFORM ${parts} PREPEND ${PROJECT_SOURCE_DIR}/src/kernels/ OUTPUT_VARIABLE sources)
  list(TRANSFORM sources APPEND .cpp)
  add_library(runnel_${table} OBJECT ${sources})
  target_compile_options(runnel_${table} PRIVATE ${RUNNEL_KERNEL_FLAGS} ${${table}_flags})
  target_compile_definitions(runnel_${table} PRIVATE RUNNEL_TABLE=${table}
    RUNNEL_VECTORS="kernels/vectors/${vectors}.inl")
  target_include_directories(runnel_${table} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(runnel_${table} PRIVATE $<BUILD_INTERFACE:runnel_flags>)
  target_sources(runnel PRIVATE $<TARGET_OBJECTS:runnel_${table}>)
  string(APPEND RUNNEL_BUILT_TABLES " X(${table})")
endforeach()
file(CONFIGURE OUTPUT generated/kernels/tables/built.h CONTENT
  "// Made by cmake/kernels.cmake.\n#pragma once\n#define RUNNEL_BUILT_TABLES(X)@RUNNEL_BUILT_TABLES@\n" @ONLY)
target_include_directories(runnel PRIVATE ${PROJECT_BINARY_DIR}/generated)
target_sources(runnel PRIVATE src/kernels/tables/tables.cpp src/kernels/tables/select.cpp src/kernels/attention/store_kv.cpp
  src/kernels/attention/hadamard.cpp src/kernels/attention/kv_codes.cpp
  src/kernels/pack/packed.cpp src/kernels/pack/spans.cpp src/kernels/pack/dequantize.cpp
  src/kernels/pack/codebook_types.cpp src/kernels/pack/quantize.cpp)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_sources(runnel PRIVATE src/kernels/tables/runs_x86.cpp src/kernels/tables/tile_permission.cpp)
else()
  target_sources(runnel PRIVATE src/kernels/tables/asks_ahead.cpp)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  target_sources(runnel PRIVATE src/kernels/tables/runs_arm.cpp)
endif()
