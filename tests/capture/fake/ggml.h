#pragma once
// As much of ggml as the capture library looks at, and as a small llama needs: names and meanings are
// ggml's, the code is not. FAKE_LAYOUT says which ggml_tensor: 0 today's; 1 with a field more; 2 one that
// nobody knows.

#include <cstddef>
#include <cstdint>

enum class Op : int {  // numbers are this library's own: who reads them must ask for names
  none,
  add,
  mul,
  mul_mat,
  scale,
  rms_norm,
  get_rows,
  set_rows,
  rope,
  soft_max,
  flash_attn_ext,
  glu,
  view,
  reshape,
  permute,
  transpose,
  cont,
  sqr,
};

extern "C" {
struct ggml_tensor;

/// A stored tensor of the program's own: a weight, an input, a cache. `type` 0 f32, 26 i32, 27 i64.
ggml_tensor* fake_leaf(const char* name, int type, int64_t ne0, int64_t ne1, void* data);
/// A node of f32 with its own memory.
ggml_tensor* fake_node(Op op, int64_t ne0, int64_t ne1, int64_t ne2, ggml_tensor* a, ggml_tensor* b = nullptr,
                       ggml_tensor* c = nullptr, ggml_tensor* d = nullptr);
/// A view of `a` of these shape and strides (in values), or SET_ROWS's view of a whole cache.
ggml_tensor* fake_view(Op op, ggml_tensor* a, const int64_t (&ne)[3], const int64_t (&stride)[3]);
ggml_tensor* fake_set_rows(ggml_tensor* cache, ggml_tensor* rows, ggml_tensor* slots);
void fake_parameter(ggml_tensor* tensor, int i, float value);
const float* fake_values(const ggml_tensor* tensor);
/// Nodes made since the last call, in order; computed by the scheduler below.
struct ggml_cgraph* fake_graph();

void* fake_scheduler();
void ggml_backend_sched_set_eval_callback(void* sched, bool (*callback)(ggml_tensor*, bool, void*),
                                          void* data);
int ggml_backend_sched_graph_compute(void* sched, ggml_cgraph* graph);
void llama_set_warmup(void* context, bool warmup);
}
