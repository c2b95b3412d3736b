# The same kernel templates, compiled once per ISA. Only these files get ISA flags, by the end of their names.
# They are optimised in every configuration: unoptimised, they would leave inline functions of the headers behind
# as wide code that the linker may pick for the whole program.
file(GLOB cpu_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp)
target_sources(greta_kernels PRIVATE ${cpu_sources})
# Kernels read like their equations, without casts: what a conversion does to the bits, the tests say.
set(equations -Wno-conversion -Wno-sign-conversion)
set(avx2_flags -mavx2 -mfma -mf16c ${equations})
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND avx512_flags -Wno-maybe-uninitialized)  # gcc 12 warns of its own intrinsics' "undefined" operands
endif()
set(optimise -O3)
if(GRETA_SANITIZE)
  set(optimise -O1)
endif()
foreach(source ${cpu_sources})
  if(source MATCHES "_avx512vnni\\.cpp$")
    set(flags ${avx512_flags} -mavx512vnni)
  elseif(source MATCHES "_avx512bf16\\.cpp$")
    set(flags ${avx512_flags} -mavx512bf16)
  elseif(source MATCHES "_avx512\\.cpp$")
    set(flags ${avx512_flags})
  elseif(source MATCHES "_avx2\\.cpp$")
    set(flags ${avx2_flags})
  else()
    set(flags ${equations})
    if(NOT GRETA_SANITIZE)
      list(APPEND flags -O2)  # the reference builds: quick to compile
    endif()
  endif()
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${optimise};${flags}")
endforeach()

# Functions (W, T); sharing a constant (u) is no harm.
if(BUILD_TESTING AND CMAKE_NM)
  add_test(NAME kernels.isa_files_share_no_functions COMMAND sh -c
    "! ${CMAKE_NM} -A $<TARGET_FILE:greta_kernels> | grep -E '_avx(2|512[a-z0-9]*)[.]cpp[.]o: *[0-9a-f]+ [WT] '")
endif()
