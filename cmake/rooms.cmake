# A room is a folder of src/ and a static library greta_<room>.
function(greta_room room)
  cmake_parse_arguments(arg "" "" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${room}/*.cpp)
  add_library(greta_${room} STATIC ${sources})
  target_link_libraries(greta_${room} PUBLIC greta_options ${arg_LINKS})
endfunction()
