# Code objects of kernels/gpu for real GPUs, where their compilers are; without them the program says what is missing.
# No flag may change what a float operation means: FMA is written where it is meant, subnormals are kept.
set(gpu_source ${CMAKE_SOURCE_DIR}/src/kernels/gpu/kernels.cu)
file(GLOB gpu_headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/gpu/*.h)
list(APPEND gpu_headers ${CMAKE_SOURCE_DIR}/src/kernels/math.h ${CMAKE_SOURCE_DIR}/src/kernels/views.h
  ${CMAKE_SOURCE_DIR}/src/kernels/block_code.h)

find_program(GRETA_NVCC nvcc PATHS /usr/local/cuda/bin)
if(GRETA_NVCC AND CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT GRETA_SANITIZE)
  set(cuda_code ${CMAKE_BINARY_DIR}/kernels.fatbin)
  add_custom_command(OUTPUT ${cuda_code} DEPENDS ${gpu_source} ${gpu_headers} VERBATIM
    COMMAND ${GRETA_NVCC} -std=c++20 -O3 --expt-relaxed-constexpr -fmad=false -ftz=false -prec-div=true -prec-sqrt=true
      -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a
      -gencode=arch=compute_90,code=compute_90 -t 2 -I${CMAKE_SOURCE_DIR}/src -fatbin ${gpu_source} -o ${cuda_code})
  set_source_files_properties(src/gpu/cuda.cpp PROPERTIES OBJECT_DEPENDS ${cuda_code}
    COMPILE_DEFINITIONS "GRETA_CUDA_CODE=\"${cuda_code}\"" SKIP_UNITY_BUILD_INCLUSION ON)
endif()

# AMD's, by Debian's clang alone (no ROCm). There is no loader for them yet: a test reads what the compiler made of the
# source (tests/kernels/gpu/hip_code.sh).
find_program(GRETA_HIP_CLANG clang++-22)
find_program(GRETA_HIP_LLD ld.lld-22)
if(GRETA_HIP_CLANG AND GRETA_HIP_LLD AND CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT GRETA_SANITIZE AND BUILD_TESTING)
  foreach(target gfx90a gfx942)
    set(hip_code ${CMAKE_BINARY_DIR}/kernels.${target}.hsaco)
    add_custom_command(OUTPUT ${hip_code} DEPENDS ${gpu_source} ${gpu_headers} VERBATIM
      COMMAND ${GRETA_HIP_CLANG} -x hip --offload-arch=${target} --cuda-device-only -nogpuinc -nogpulib
        --no-gpu-bundle-output -std=c++20 -O3 -ffp-contract=off -Wall -Wextra -Werror -Wno-pass-failed
        -I${CMAKE_SOURCE_DIR}/src ${gpu_source} -o ${hip_code})
    list(APPEND hip_codes ${hip_code})
    add_test(NAME kernels.hip_code_${target}
      COMMAND ${CMAKE_SOURCE_DIR}/tests/kernels/gpu/hip_code.sh ${target} ${hip_code})
    set_tests_properties(kernels.hip_code_${target} PROPERTIES LABELS unit)
  endforeach()
  add_custom_target(hip_code ALL DEPENDS ${hip_codes})
endif()
