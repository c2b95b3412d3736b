# Preloaded into strangers' programs: it links nothing of ours, nothing else is seen of it than what it exports, and it is
# never sanitized: what it is loaded into is not.
file(GLOB capture_sources CONFIGURE_DEPENDS src/capture/*.cpp)
add_library(greta_capture SHARED ${capture_sources})
target_include_directories(greta_capture PRIVATE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(greta_capture PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Werror
  "$<$<CXX_COMPILER_ID:GNU>:-Wconversion;-Wsign-conversion>")
target_link_libraries(greta_capture PRIVATE ${CMAKE_DL_LIBS} -static-libstdc++ -static-libgcc
  -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/capture.map)
set_target_properties(greta_capture PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
  CXX_VISIBILITY_PRESET hidden LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/capture.map)
add_dependencies(greta greta_capture)
