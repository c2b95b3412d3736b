# Tests in Python: of python/, of the documents' examples, of the manual page and the completion. A test that lacks
# something exits with 77 and says what in a line "skipped: ...", which scripts/test.sh repeats at its end.

# The first python3 that has the modules (the one on the PATH may not be Debian's), or else any.
function(greta_find_python result)
  find_program(on_path python3 NO_CACHE)
  set(${result} ${on_path} PARENT_SCOPE)
  foreach(python ${on_path} /usr/bin/python3)
    execute_process(COMMAND ${python} -c
      "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))" ${ARGN}
      RESULT_VARIABLE lacking ERROR_QUIET)
    if(lacking EQUAL 0)
      set(${result} ${python} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  list(JOIN ARGN ", " modules)
  message(STATUS "No python3 has all of ${modules}: tests that need them are skipped")
endfunction()

function(greta_python_test name script label)  # then the script's arguments
  add_test(NAME ${name} COMMAND ${python} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${ARGN})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS ${label}
    ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endfunction()

find_program(GRETA_PYTHON3 python3)
if(NOT GRETA_PYTHON3)
  message(STATUS "No python3: its tests are not there")
  return()
endif()

greta_find_python(python numpy)
greta_python_test(python.bundle python/bundle_test.py unit)
greta_python_test(python.checkpoint_formats python/checkpoint_formats_test.py unit --greta $<TARGET_FILE:greta>)
greta_python_test(python.llama_cpp python/llama_cpp_test.py unit)
greta_python_test(docs.examples docs/examples_test.py docs --greta $<TARGET_FILE:greta>)
greta_python_test(docs.SmolLM2 docs/examples_test.py model --greta $<TARGET_FILE:greta> --smollm2)
greta_python_test(docs.capture.needs_llama_cpp docs/capture_llama_test.py model --greta $<TARGET_FILE:greta>)
greta_python_test(docs.manual docs/manual_test.py unit --greta $<TARGET_FILE:greta>)
greta_python_test(docs.names docs/names_test.py docs)
greta_python_test(docs.completion docs/completion_test.py unit --greta $<TARGET_FILE:greta>)

# Elsewhere: by a real sshd, and on a real cluster of Slurm's, where they are installed.
foreach(test ssh ssh_faults slurm)
  greta_python_test(launch.${test} launch/${test}_test.py elsewhere --greta $<TARGET_FILE:greta>)
endforeach()
greta_python_test(launch.b3_31.SmolLM2 launch/ssh_test.py model --greta $<TARGET_FILE:greta> --smollm2
  test_the_runner_of_b3_31)

# Every mutant of tests/mutants still applies to the sources. (Running them takes half an hour: docs/detection-power.md.)
greta_find_python(python tomllib)
greta_python_test(mutants.apply ../scripts/mutants.py unit check)

# The name says what is missing where CTest lists it as skipped: PyTorch is no Debian package of ours.
greta_find_python(python tokenizers)
greta_python_test(model.tokenizer_json.needs_tokenizers model/tokenizer_json.py unit $<TARGET_FILE:tokenizer_ids>
  --strings 200)
greta_find_python(python numpy torch transformers safetensors)
greta_python_test(python.capture.needs_torch_and_transformers python/capture_test.py unit)
greta_python_test(python.vllm_plugin.needs_torch_and_transformers python/vllm_plugin_test.py unit
  --greta $<TARGET_FILE:greta>)
greta_python_test(python.capture_ops.needs_torch_and_transformers python/capture_ops_test.py unit
  --greta $<TARGET_FILE:greta>)
greta_python_test(python.import.needs_torch_and_transformers python/import_test.py unit --greta $<TARGET_FILE:greta>)
greta_find_python(python numpy torch transformers safetensors gguf)
greta_python_test(python.bugs.needs_torch_transformers_and_gguf python/capture_bugs_test.py unit
  --greta $<TARGET_FILE:greta>)
greta_python_test(python.capture_judged.needs_torch_transformers_and_gguf python/capture_judged_test.py unit
  --greta $<TARGET_FILE:greta>)
