# Each instruction set is one translation unit with its own flags; nothing else in the library is
# compiled with them, so no other code can pick an instruction the machine lacks. Always optimised: kernels
# without inlining would leave copies of header functions for the linker to choose from.
option(RUNNEL_PORTABLE "Leave out the kernels of instruction sets that not every processor has" OFF)
set(RUNNEL_KERNEL_FLAGS "-O3;-ffp-contract=fast;-fno-exceptions")
if(RUNNEL_SANITIZE)  # checks of every operation in code so unrolled take a compiler many minutes
  list(APPEND RUNNEL_KERNEL_FLAGS -O1 -fno-sanitize=undefined)
endif()
set_source_files_properties(src/kernels/portable.cpp PROPERTIES COMPILE_OPTIONS "${RUNNEL_KERNEL_FLAGS}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT RUNNEL_PORTABLE)
  set_source_files_properties(src/kernels/avx2.cpp PROPERTIES
    COMPILE_OPTIONS "${RUNNEL_KERNEL_FLAGS};-mavx2;-mfma;-mf16c;-mbmi2")
  # g++ 12 takes the undefined operand inside its own AVX-512 header for an uninitialised variable.
  set(RUNNEL_AVX512_FLAGS "${RUNNEL_KERNEL_FLAGS};-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mfma;-mf16c;-mbmi2;-mprefer-vector-width=512;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>")
  set_source_files_properties(src/kernels/avx512.cpp PROPERTIES
    COMPILE_OPTIONS "${RUNNEL_AVX512_FLAGS};-mavx512vnni")
  set_source_files_properties(src/kernels/avx512_bf16.cpp PROPERTIES
    COMPILE_OPTIONS "${RUNNEL_AVX512_FLAGS};-mavx512vnni;-mavx512bf16")
  set_source_files_properties(src/kernels/amx.cpp PROPERTIES
    COMPILE_OPTIONS "${RUNNEL_AVX512_FLAGS};-mavx512vnni;-mavx512bf16;-mamx-tile;-mamx-bf16;-mamx-int8")
  set_source_files_properties(src/kernels/tables_other.cpp PROPERTIES HEADER_FILE_ONLY ON)
else()
  set_source_files_properties(src/kernels/avx2.cpp src/kernels/avx512.cpp src/kernels/avx512_bf16.cpp
    src/kernels/amx.cpp src/kernels/tile_permission.cpp
    src/kernels/tables_x86.cpp
    PROPERTIES HEADER_FILE_ONLY ON)
endif()
