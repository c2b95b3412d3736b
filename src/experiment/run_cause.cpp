#include "experiment/run_cause.h"

#include <array>

namespace greta {

std::span<const RunCauseInfo> run_causes() {
  static const std::array kCauses{
      RunCauseInfo{RunCause::fused_kernel,
                   "fused_kernel",
                   {"a fused kernel differs from the ops that it stands for",
                    "un kernel fusionado difiere de las operaciones a las que sustituye"},
                   "https://github.com/ggml-org/llama.cpp/pull/14545"},
      RunCauseInfo{RunCause::missing_barrier,
                   "missing_barrier",
                   {"threads read what others have not written yet",
                    "hay hilos que leen lo que otros aún no han escrito"},
                   "https://github.com/ikawrakow/ik_llama.cpp/pull/916"},
      RunCauseInfo{RunCause::lost_position,
                   "lost_position",
                   {"the cache does not count as many positions as it was given",
                    "la caché no cuenta tantas posiciones como recibió"},
                   "https://github.com/ggml-org/llama.cpp/pull/12161"},
      RunCauseInfo{
          RunCause::thread_count,
          "thread_count",
          {"another number of threads computes something else", "otro número de hilos calcula otra cosa"},
          "https://github.com/ggml-org/llama.cpp/issues/95"},
      RunCauseInfo{RunCause::unused_is_read,
                   "unused_is_read",
                   {"slots or padding that nobody has written are read",
                    "se leen posiciones o rellenos que nadie ha escrito"},
                   "https://github.com/GeeeekExplorer/nano-vllm/issues/212"},
      RunCauseInfo{RunCause::block_edges,
                   "block_edges",
                   {"the result depends on how a prompt is cut into blocks",
                    "el resultado depende de cómo se corta el prompt en bloques"},
                   "https://github.com/pegainfer-project/pegainfer/pull/688"},
      RunCauseInfo{RunCause::prefill_unlike_decode,
                   "prefill_unlike_decode",
                   {"n tokens at once do not leave what n steps of decode leave",
                    "n tokens de una vez no dejan lo mismo que n pasos de decode"},
                   "https://github.com/paiml/realizar/issues/94"},
      RunCauseInfo{RunCause::unrecorded_program,
                   "unrecorded_program",
                   {"the unrecorded program differs, for no reason among these",
                    "el programa sin registrar difiere, por ningún motivo de estos"},
                   ""},
      RunCauseInfo{RunCause::not_repeatable,
                   "not_repeatable",
                   {"the same tokens do not always give the same",
                    "los mismos tokens no siempre dan el mismo resultado"},
                   "https://github.com/ikawrakow/ik_llama.cpp/pull/916"}};
  return kCauses;
}

const Text& what(RunCause cause) { return run_causes()[static_cast<size_t>(cause)].what; }

std::string_view name(RunCause cause) { return run_causes()[static_cast<size_t>(cause)].name; }

}  // namespace greta
