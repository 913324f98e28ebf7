# Debian packages by CPack: `make deb`. A part of the installation each (install.cmake), with the documents that Debian
# wants beside it, which an installation otherwise leaves out.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME runnel)
set(CPACK_PACKAGE_VENDOR "The runnel authors")
# Who builds them, as Debian's own tools are told; without, nobody who could be written to.
set(maintainer_name "The runnel authors")
set(maintainer_address nobody@runnel.invalid)
if(DEFINED ENV{DEBEMAIL})
  set(maintainer_address $ENV{DEBEMAIL})
endif()
if(DEFINED ENV{DEBFULLNAME})
  set(maintainer_name $ENV{DEBFULLNAME})
endif()
set(CPACK_PACKAGE_CONTACT "${maintainer_name} <${maintainer_address}>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")  # each package has its own
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL program runtime development)
if(TARGET runnel_python)
  list(APPEND CPACK_COMPONENTS_ALL python)
endif()
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/compress_pages.cmake)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(method "It keeps the keys and values of a stream's first tokens, the attention\nsinks, and of its last ones, and forgets the rest.")
# A package: its part, its name and section, what it needs, a line and a paragraph of description.
function(debian_package component name section depends summary text)
  string(TOUPPER ${component} part)
  foreach(pair IN ITEMS "PACKAGE_NAME=${name}" "PACKAGE_SECTION=${section}" "PACKAGE_DEPENDS=${depends}")
    string(REGEX MATCH "^([A-Z_]+)=(.*)$" whole "${pair}")
    set(CPACK_DEBIAN_${part}_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}" PARENT_SCOPE)
  endforeach()
  set(CPACK_COMPONENT_${part}_DESCRIPTION "${summary}\n${text}\n${method}" PARENT_SCOPE)
  set(documents ${PROJECT_BINARY_DIR}/deb/${name})
  configure_file(${PROJECT_SOURCE_DIR}/packaging/deb/copyright ${documents}/copyright COPYONLY)
  configure_file(${PROJECT_SOURCE_DIR}/packaging/deb/changelog ${documents}/changelog.Debian @ONLY)
  install(FILES ${documents}/copyright ${documents}/changelog.Debian DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${name}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
  set(overrides ${PROJECT_SOURCE_DIR}/packaging/deb/${name}.lintian-overrides)
  if(EXISTS ${overrides})
    install(FILES ${overrides} DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/lintian/overrides RENAME ${name}
      COMPONENT ${component} EXCLUDE_FROM_ALL)
  endif()
endfunction()

set(same_version "(= ${PROJECT_VERSION}-1)")
debian_package(program runnel science "" "large language models on endless streams"
  "The program reads and writes without end, in constant memory and at\nconstant speed; serves streams over HTTP; and repeats the experiments\non attention sinks.")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "python3-pip")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS "gnuplot-nox, ocl-icd-libopencl1")
debian_package(runtime librunnel1 libs "" "large language models on endless streams - C library"
  "The library runs language models over streams of any length, in constant\nmemory and at constant speed.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SUGGESTS "ocl-icd-libopencl1")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/packaging/deb/librunnel1/triggers)
debian_package(development librunnel-dev libdevel
  "librunnel1 ${same_version}, libfmt-dev, libpcre2-dev, libutf8proc-dev, libxxhash-dev"
  "large language models on endless streams - development"
  "Headers for C and C++, the static library, and what pkg-config and CMake\nwant to know.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
if(TARGET runnel_python)
  math(EXPR next_minor "${Python_VERSION_MINOR} + 1")
  debian_package(python python3-runnel python
    "python3 (>= 3.${Python_VERSION_MINOR}), python3 (<< 3.${next_minor}), python3-numpy"
    "large language models on endless streams - Python module"
    "The module opens, feeds and reads streams, shows their attention and\nmeasures perplexity, with numpy arrays.")
  set(CPACK_DEBIAN_PYTHON_PACKAGE_RECOMMENDS "runnel, python3-tqdm")
  set(CPACK_DEBIAN_PYTHON_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/packaging/deb/python3-runnel/postinst
    ${PROJECT_SOURCE_DIR}/packaging/deb/python3-runnel/prerm)
endif()
include(CPack)
