# The C interface: part of the static library, and all that the shared one (librunnel.so.1) shows.
file(GLOB RUNNEL_C_SOURCES CONFIGURE_DEPENDS src/c/*.cpp)
add_library(runnel_c OBJECT ${RUNNEL_C_SOURCES})
compile_together(runnel_c 1 ${RUNNEL_C_SOURCES})
target_include_directories(runnel_c PRIVATE include src)
target_compile_definitions(runnel_c PRIVATE RUNNEL_VERSION="${PROJECT_VERSION}")
target_link_libraries(runnel_c PRIVATE runnel_flags fmt::fmt)
target_sources(runnel PRIVATE $<TARGET_OBJECTS:runnel_c>)

set(version_script ${PROJECT_SOURCE_DIR}/cmake/runnel.map)
add_library(runnel_shared SHARED $<TARGET_OBJECTS:runnel_c>)
set_target_properties(runnel_shared PROPERTIES OUTPUT_NAME runnel EXPORT_NAME shared SOVERSION 1
  VERSION 1.0.0 LINK_DEPENDS ${version_script} LINKER_LANGUAGE CXX)
target_include_directories(runnel_shared INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(runnel_shared PRIVATE $<BUILD_INTERFACE:runnel>)
target_link_options(runnel_shared PRIVATE -Wl,--version-script=${version_script} -Wl,--no-undefined)
