# What is installed, in the parts that Debian's packages have (packaging/deb): program, runtime, development, python.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(development COMPONENT development)
install(TARGETS runnel runnel_shared EXPORT runnel-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${development}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
if(TARGET runnel_cli)
  install(TARGETS runnel_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
endif()
install(DIRECTORY include/runnel DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${development})
set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/runnel)
install(EXPORT runnel-targets NAMESPACE runnel:: DESTINATION ${config_folder} ${development})
configure_package_config_file(cmake/runnel-config.cmake.in ${PROJECT_BINARY_DIR}/runnel-config.cmake
  INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/runnel-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/runnel-config.cmake ${PROJECT_BINARY_DIR}/runnel-config-version.cmake
  DESTINATION ${config_folder} ${development})
file(RELATIVE_PATH to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/runnel.pc.in ${PROJECT_BINARY_DIR}/runnel.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/runnel.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig ${development})
