# Files of a library are compiled together, a few objects for all: headers are read, and templates made, once for many
# files. A build from nothing takes less than half the time, a changed file that of its companions. Off, each file must name
# what it includes. A name in an unnamed namespace is best one that no other file of the library has.
option(RUNNEL_UNITY "Compile the files of a library together" OFF)

# A file that gives names of its library to other things stays alone; those that know Boost are for themselves.
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/jinja/methods.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
set(http_folder ${PROJECT_SOURCE_DIR}/src/serve/http)
set_source_files_properties(${http_folder}/server.cpp ${http_folder}/websocket.cpp PROPERTIES UNITY_GROUP http)

# compile_together(TARGET N FILE...): as N objects of about the same length, neighbours with neighbours.
function(compile_together target n)
  if(NOT RUNNEL_UNITY)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  set(all 0)
  foreach(file ${ARGN})
    file(SIZE ${file} bytes)
    math(EXPR all "${all} + ${bytes}")
  endforeach()
  set(before 0)
  foreach(file ${ARGN})
    get_source_file_property(has_group ${file} UNITY_GROUP)
    if(has_group)
      continue()
    endif()
    math(EXPR group "${before} * ${n} / ${all}")
    set_source_files_properties(${file} PROPERTIES UNITY_GROUP ${target}_${group})
    file(SIZE ${file} bytes)
    math(EXPR before "${before} + ${bytes}")
  endforeach()
endfunction()
