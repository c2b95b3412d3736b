# The same templates, compiled once per ISA: only files whose name ends with an ISA get its flags. They are optimised
# in every configuration: unoptimised, they would leave inline functions of the headers behind as wide code that the
# linker may pick for the whole program.
# Kernels read like their equations, without casts: what a conversion does to the bits, the tests say.
set(equations -Wno-conversion -Wno-sign-conversion)
set(avx2_flags -mavx2 -mfma -mf16c ${equations})
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND avx512_flags -Wno-maybe-uninitialized -Wno-uninitialized)  # gcc 12 warns of its own intrinsics' "undefined" operands
endif()
set(avx512vnni_flags ${avx512_flags} -mavx512vnni)
set(avx512bf16_flags ${avx512_flags} -mavx512bf16)
set(scalar_flags ${equations} -O2)  # not -O3: quicker to compile. (-O1 halves that again, and the speed)
set(isa_optimise -O3)
if(GRETA_SANITIZE)
  set(scalar_flags ${equations})
  set(isa_optimise -O1)
endif()

# greta_isa_files(ROOM): gives the room's files their flags; a test sees that they share no functions.
function(greta_isa_files room)
  get_target_property(sources greta_${room} SOURCES)
  foreach(source ${sources})
    if(source MATCHES "_(scalar|avx2|avx512[a-z0-9]*)\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${isa_optimise};${${CMAKE_MATCH_1}_flags}")
    endif()
  endforeach()
  # Functions (W, T); sharing a constant (u) is no harm.
  if(BUILD_TESTING AND CMAKE_NM)
    add_test(NAME ${room}.isa_files_share_no_functions COMMAND sh -c
      "! ${CMAKE_NM} -A $<TARGET_FILE:greta_${room}> | grep -E '_avx(2|512[a-z0-9]*)[.]cpp[.]o: *[0-9a-f]+ [WT] '")
  endif()
endfunction()
