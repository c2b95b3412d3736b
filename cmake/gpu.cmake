# Code objects of kernels/gpu for real GPUs, where their compilers are; without them the program says what is missing.
# No flag may change what a float operation means: FMA is written where it is meant, subnormals are kept.
set(gpu_source ${CMAKE_SOURCE_DIR}/src/kernels/gpu/kernels.cu)
file(GLOB gpu_headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/gpu/*.h)
list(APPEND gpu_headers ${CMAKE_SOURCE_DIR}/src/kernels/math.h ${CMAKE_SOURCE_DIR}/src/kernels/views.h
  ${CMAKE_SOURCE_DIR}/src/kernels/block_code.h)

find_program(GRETA_NVCC nvcc PATHS /usr/local/cuda/bin)
if(GRETA_NVCC AND NOT GRETA_SANITIZE)
  set(cuda_code ${CMAKE_BINARY_DIR}/kernels.fatbin)
  add_custom_command(OUTPUT ${cuda_code} DEPENDS ${gpu_source} ${gpu_headers} VERBATIM
    COMMAND ${GRETA_NVCC} -std=c++20 -O3 --expt-relaxed-constexpr -fmad=false -ftz=false -prec-div=true -prec-sqrt=true
      -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90
      -gencode=arch=compute_90,code=compute_90 -t 2 -I${CMAKE_SOURCE_DIR}/src -fatbin ${gpu_source} -o ${cuda_code})
  set_source_files_properties(src/gpu/cuda.cpp PROPERTIES OBJECT_DEPENDS ${cuda_code}
    COMPILE_DEFINITIONS "GRETA_CUDA_CODE=\"${cuda_code}\"" SKIP_UNITY_BUILD_INCLUSION ON)
endif()
