# A room is a folder of src/ with its sub-folders, and a static library greta_<room>.
function(greta_room room)
  cmake_parse_arguments(arg "" "" "LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${room}/*.cpp ${CMAKE_SOURCE_DIR}/src/${room}/*.h)
  add_library(greta_${room} STATIC ${sources})
  target_link_libraries(greta_${room} PUBLIC greta_options ${arg_LINKS})
  # A number changes its type only where the code says so.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(greta_${room} PRIVATE -Wconversion -Wsign-conversion)
  endif()
  set_target_properties(greta_${room} PROPERTIES LINKER_LANGUAGE CXX)
endfunction()
