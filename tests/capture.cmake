# `greta capture` needs a program with a shared ggml: a small llama on a ggml of our own, in three layouts of its tensors
# (by LD_LIBRARY_PATH; the first is the program's own).
foreach(layout 0 1 2)
  add_library(fake_ggml_${layout} SHARED capture/fake/ggml.cpp)
  target_compile_definitions(fake_ggml_${layout} PRIVATE FAKE_LAYOUT=${layout})
  target_compile_features(fake_ggml_${layout} PRIVATE cxx_std_20)
  set_target_properties(fake_ggml_${layout} PROPERTIES OUTPUT_NAME ggml-fake CXX_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/layouts/${layout})
endforeach()
add_executable(fake_engine capture/fake/engine.cpp)
target_link_libraries(fake_engine PRIVATE greta_model fake_ggml_0)
add_executable(static_program capture/fake/static_program.cpp)
target_link_options(static_program PRIVATE -static)

add_executable(capture_test capture/capture_test.cpp)
target_link_libraries(capture_test PRIVATE greta_engine greta_test_support)
target_compile_definitions(capture_test PRIVATE GRETA_FAKE_ENGINE="$<TARGET_FILE:fake_engine>"
  GRETA_FAKE_LAYOUTS="${CMAKE_CURRENT_BINARY_DIR}/layouts" GRETA_STATIC_PROGRAM="$<TARGET_FILE:static_program>")
target_precompile_headers(capture_test REUSE_FROM greta_test_headers)
add_dependencies(capture_test greta fake_engine static_program fake_ggml_1 fake_ggml_2)
set(room capture)
greta_discover(capture_test)
