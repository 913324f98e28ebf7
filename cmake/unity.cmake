# Files of a folder are compiled a few at a time as one, so that their headers are read once: a build from nothing takes
# about half the time, a changed file that of its companions. Off, each file must name what it includes.
option(RUNNEL_UNITY "Compile the files of a folder together" OFF)

# Files that give one name to different things, as protocols do to `create`, stay alone.
set(alone jinja/methods serve/service serve/http/server serve/http/websocket serve/hub/tool_text
  serve/protocols/chat_completions serve/protocols/completions serve/protocols/errors serve/protocols/ollama
  serve/protocols/openai_conversations serve/protocols/openai_responses serve/protocols/response_creation
  serve/protocols/streams)
list(TRANSFORM alone PREPEND ${PROJECT_SOURCE_DIR}/src/)
list(TRANSFORM alone APPEND .cpp)
set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)

# compile_together(TARGET FILE...)
function(compile_together target)
  if(NOT RUNNEL_UNITY)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  foreach(file ${ARGN})
    cmake_path(GET file PARENT_PATH folder)
    cmake_path(RELATIVE_PATH folder BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
    string(MAKE_C_IDENTIFIER ${folder} folder)
    math(EXPR group "${n_${folder}} + 0" OUTPUT_FORMAT DECIMAL)
    math(EXPR n_${folder} "${group} + 1")
    math(EXPR group "${group} / 6")
    set_source_files_properties(${file} PROPERTIES UNITY_GROUP ${folder}_${group})
  endforeach()
endfunction()
