# Manual pages and completions for shells, made from the program's --help when everything is built.
set(pages ${PROJECT_BINARY_DIR}/share)
file(GLOB page_scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/scripts/pages/*)
add_custom_command(OUTPUT ${pages}/man/man1/runnel.1
  COMMAND sh ${PROJECT_SOURCE_DIR}/scripts/pages/make.sh ${pages} ${CMAKE_CROSSCOMPILING_EMULATOR}
          $<TARGET_FILE:runnel_cli>
  DEPENDS runnel_cli ${page_scripts} COMMENT "Writing manual pages and completions" VERBATIM)
add_custom_target(runnel_pages ALL DEPENDS ${pages}/man/man1/runnel.1)
install(DIRECTORY ${pages}/ DESTINATION ${CMAKE_INSTALL_DATAROOTDIR} COMPONENT program)
