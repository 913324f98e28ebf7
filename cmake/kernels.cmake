# Each instruction set is one translation unit with its own flags; nothing else in the library is
# compiled with them, so no other code can pick an instruction the machine lacks.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(src/kernels/avx2.cpp PROPERTIES
    COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mbmi2")
  set_source_files_properties(src/kernels/avx512.cpp PROPERTIES
    COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mfma;-mf16c;-mbmi2;-mprefer-vector-width=512")
else()
  list(REMOVE_ITEM RUNNEL_SOURCES ${PROJECT_SOURCE_DIR}/src/kernels/avx2.cpp)
endif()
