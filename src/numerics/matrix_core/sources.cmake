# The matrix units, and one file per ISA with the flags of the kernels.
foreach(isa avx2 avx512)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/block_${isa}.cpp PROPERTIES
    COMPILE_OPTIONS "${optimise};${${isa}_flags}")
endforeach()
if(BUILD_TESTING AND CMAKE_NM)
  add_test(NAME numerics.isa_files_share_no_functions COMMAND sh -c
    "! ${CMAKE_NM} -A $<TARGET_FILE:greta_numerics> | grep -E '_avx(2|512[a-z0-9]*)[.]cpp[.]o: *[0-9a-f]+ [WT] '")
endif()
