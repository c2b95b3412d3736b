# A room is a folder of src/ with its sub-folders, and a static library greta_<room>.
function(greta_room room)
  cmake_parse_arguments(arg "" "" "LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${room}/*.cpp ${CMAKE_SOURCE_DIR}/src/${room}/*.h)
  add_library(greta_${room} STATIC ${sources})
  target_link_libraries(greta_${room} PUBLIC greta_options ${arg_LINKS})
  set_target_properties(greta_${room} PROPERTIES LINKER_LANGUAGE CXX)
endfunction()
