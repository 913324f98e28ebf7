# The description of the server's API becomes a part of the program, as text.
set(openapi_folder ${PROJECT_SOURCE_DIR}/src/serve/protocols)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${openapi_folder}/openapi.json)
file(READ ${openapi_folder}/openapi.json OPENAPI_TEXT)
configure_file(${openapi_folder}/openapi.cpp.in ${PROJECT_BINARY_DIR}/openapi.cpp @ONLY)
target_sources(runnel_serve PRIVATE ${PROJECT_BINARY_DIR}/openapi.cpp)
