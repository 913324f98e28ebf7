# What is installed, in the parts that Debian's packages have (packaging/deb): program, runtime, development, python.
include(CMakePackageConfigHelpers)

set(development COMPONENT development)
install(TARGETS runnel runnel_shared EXPORT runnel-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${development}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
if(TARGET runnel_cli)
  install(TARGETS runnel_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
endif()
# The bundled model; the server as a service of systemd, and the settings that it is to be given.
set(share ${CMAKE_INSTALL_DATADIR}/runnel)
install(FILES models/novella-7m-q8_0.gguf DESTINATION ${share}/models COMPONENT program)
install(FILES packaging/systemd/serve.toml DESTINATION ${share} COMPONENT program)
install(FILES packaging/systemd/runnel.service DESTINATION lib/systemd/system COMPONENT program)
install(DIRECTORY include/runnel DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${development})
set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/runnel)
install(EXPORT runnel-targets NAMESPACE runnel:: DESTINATION ${config_folder} ${development})
configure_package_config_file(cmake/runnel-config.cmake.in ${PROJECT_BINARY_DIR}/runnel-config.cmake
  INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/runnel-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/runnel-config.cmake ${PROJECT_BINARY_DIR}/runnel-config-version.cmake
  DESTINATION ${config_folder} ${development})
# pkg-config's paths are relative to its file, so that the whole may be moved; but those that were given whole.
set(pc_prefix ${CMAKE_INSTALL_PREFIX})
set(pc_libdir ${CMAKE_INSTALL_LIBDIR})
set(pc_includedir ${CMAKE_INSTALL_INCLUDEDIR})
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  file(RELATIVE_PATH to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" pc_prefix "\${pcfiledir}/${to_prefix}")
  set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(cmake/runnel.pc.in ${PROJECT_BINARY_DIR}/runnel.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/runnel.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig ${development})
