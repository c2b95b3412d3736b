# Flags of every target of ours: warnings are errors, and no flag may change what a float operation means.
option(GRETA_BENCH "build the Google Benchmark programs of bench/" OFF)
option(GRETA_FUZZ "build the libFuzzer targets of tests/fuzz (clang)" OFF)
set(GRETA_SANITIZE "" CACHE STRING "sanitizers, as in -fsanitize=")

add_library(greta_options INTERFACE)
target_include_directories(greta_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(greta_options INTERFACE GRETA_VERSION="${PROJECT_VERSION}")
target_compile_options(greta_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Werror
  -ffp-contract=off)  # FMA is written where it is meant
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12 sees overflows in inlined std::string code that are not there (PR 105329, 105651); clang and asan look as well.
  target_compile_options(greta_options INTERFACE -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
    -Wno-stringop-overread)
endif()
if(GRETA_SANITIZE)
  target_compile_options(greta_options INTERFACE -fsanitize=${GRETA_SANITIZE} -fno-omit-frame-pointer -O1 -g1)
  target_link_options(greta_options INTERFACE -fsanitize=${GRETA_SANITIZE})
  target_compile_definitions(greta_options INTERFACE GRETA_SANITIZED=1)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Instrumented std::regex and std::function look uninitialised to GCC (its manual warns of -Wmaybe-uninitialized here).
    target_compile_options(greta_options INTERFACE -Wno-maybe-uninitialized)
  endif()
  if(GRETA_SANITIZE MATCHES "undefined")
    target_compile_options(greta_options INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()
if(GRETA_FUZZ)
  target_compile_options(greta_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
