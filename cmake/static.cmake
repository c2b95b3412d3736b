# The static program: libc (and its parts libm, libdl, libpthread) is all that it asks of a machine.
if(NOT GRETA_STATIC)
  return()
endif()
target_sources(greta PRIVATE cmake/static/archive_formats.cpp)
target_link_options(greta PRIVATE -Wl,--gc-sections)

# Built on Debian 12 it would ask for glibc 2.36. zig (the package ziglang) knows what each older glibc has and links for
# it; the compiler and the libraries stay Debian's. The unwinder is zig's: gcc's asks for glibc 2.35.
set(GRETA_GLIBC "" CACHE STRING "the oldest glibc that the static program shall run on, such as 2.28; needs GRETA_ZIG")
set(GRETA_ZIG "python3;-m;ziglang" CACHE STRING "the command that is zig")
if(GRETA_GLIBC)
  set(zig ${GRETA_ZIG} cc -target x86_64-linux-gnu.${GRETA_GLIBC})
  list(JOIN zig " " zig)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libstdc++.a OUTPUT_VARIABLE libstdcxx
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(link "<OBJECTS> -o <TARGET> <LINK_LIBRARIES> ${libstdcxx} -lunwind -ldl -lpthread -lm")
  set(CMAKE_CXX_LINK_EXECUTABLE "${zig} -s -Wl,--gc-sections ${link}")
  set(CMAKE_CXX_CREATE_SHARED_LIBRARY
    "${zig} -s -shared -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/capture.map ${link}")
  # zig's libc does not know that environ and __environ are one variable: only that which libc itself uses has a value.
  target_compile_definitions(greta PRIVATE environ=__environ)
  target_sources(greta PRIVATE cmake/static/older_libc.cpp)
  target_sources(greta_capture PRIVATE cmake/static/older_libc.cpp)
else()
  target_link_options(greta PRIVATE -static-libstdc++ -static-libgcc)
endif()
