# Preloaded into strangers' programs: it links nothing of ours, and nothing else is seen of it than what it exports.
file(GLOB capture_sources CONFIGURE_DEPENDS src/capture/*.cpp)
add_library(greta_capture SHARED ${capture_sources})
target_link_libraries(greta_capture PRIVATE greta_options ${CMAKE_DL_LIBS} -static-libstdc++ -static-libgcc
  -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/capture.map)
target_compile_options(greta_capture PRIVATE "$<$<CXX_COMPILER_ID:GNU>:-Wconversion;-Wsign-conversion>")
set_target_properties(greta_capture PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
  CXX_VISIBILITY_PRESET hidden LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/capture.map)
add_dependencies(greta greta_capture)
