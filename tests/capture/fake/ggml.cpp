#include "ggml.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <iterator>
#include <new>
#include <vector>

#define FAKE_API extern "C" __attribute__((visibility("default")))

struct ggml_tensor {
#if FAKE_LAYOUT == 2
  int32_t type, shape[4];  // neither as wide nor where ggml has it
#else
  int32_t type;
#endif
  void* buffer;
  int64_t ne[4];
  size_t nb[4];
  Op op;
  int32_t op_params[16];
  int32_t flags;
#if FAKE_LAYOUT == 1
  ggml_tensor* grad;
#endif
  ggml_tensor* src[10];
  ggml_tensor* view_src;
  size_t view_offs;
  char* data;
  char name[64];
  void* extra;
};

struct ggml_cgraph {
  std::vector<ggml_tensor*> nodes;
};

namespace {

constexpr int kF32 = 0, kF16 = 1, kI64 = 27;
char some_buffer;

size_t size_of(int type) { return type == kF16 ? 2 : type == kI64 ? 8 : 4; }

std::deque<std::vector<float>> memory;
std::deque<ggml_tensor> tensors;
std::deque<ggml_cgraph> graphs;
std::vector<ggml_tensor*> fresh;

void lay_out(ggml_tensor& t, int type, int64_t ne0, int64_t ne1, int64_t ne2) {
  t.type = type;
  const int64_t ne[4] = {ne0, ne1, ne2, 1};
  size_t size = size_of(type);
  for (int i = 0; i < 4; ++i) {
    t.ne[i] = ne[i];
    t.nb[i] = size;
    size *= static_cast<size_t>(ne[i]);
  }
}

ggml_tensor* made() {
  tensors.emplace_back();
  std::memset(static_cast<void*>(&tensors.back()), 0, sizeof(ggml_tensor));
  tensors.back().buffer = &some_buffer;
  return &tensors.back();
}

float& at(const ggml_tensor* t, int64_t i, int64_t j = 0, int64_t k = 0) {
  return *reinterpret_cast<float*>(t->data + static_cast<size_t>(i) * t->nb[0] +
                                   static_cast<size_t>(j) * t->nb[1] + static_cast<size_t>(k) * t->nb[2]);
}
int32_t id(const ggml_tensor* t, int64_t i) { return reinterpret_cast<const int32_t*>(t->data)[i]; }
float parameter(const ggml_tensor* t, int i) {
  float value;
  std::memcpy(&value, &t->op_params[i], sizeof value);
  return value;
}

template <class F>
void each(const ggml_tensor* t, F value) {
  for (int64_t k = 0; k < t->ne[2]; ++k)
    for (int64_t j = 0; j < t->ne[1]; ++j)
      for (int64_t i = 0; i < t->ne[0]; ++i) at(t, i, j, k) = value(i, j, k);
}

float product(const ggml_tensor* a, const ggml_tensor* b, int64_t i, int64_t j, int64_t k) {
  float sum = 0;
  const int64_t group = b->ne[2] / a->ne[2];
  for (int64_t d = 0; d < a->ne[0]; ++d) sum += at(a, d, i, k / group) * at(b, d, j, k);
  return sum;
}

/// Weights of row j of head k, by slot.
std::vector<float> weights(const ggml_tensor* scores, const ggml_tensor* mask, float scale, int64_t j,
                           int64_t k) {
  std::vector<float> row;
  for (int64_t i = 0; i < scores->ne[0]; ++i) row.push_back(at(scores, i, j, k) * scale + at(mask, i, j));
  const float most = *std::max_element(row.begin(), row.end());
  float sum = 0;
  for (float& x : row) sum += x = std::exp(x - most);
  for (float& x : row) x /= sum;
  return row;
}

void rms_norm(ggml_tensor* t, const ggml_tensor* a) {
  for (int64_t j = 0; j < t->ne[1]; ++j) {
    float sum = 0;
    for (int64_t i = 0; i < t->ne[0]; ++i) sum += at(a, i, j) * at(a, i, j);
    const float scale = 1 / std::sqrt(sum / static_cast<float>(t->ne[0]) + parameter(t, 0));
    for (int64_t i = 0; i < t->ne[0]; ++i) at(t, i, j) = at(a, i, j) * scale;
  }
}

/// Neighbours turn together, as in files of type llama; the angle in f32.
void rope(ggml_tensor* t, const ggml_tensor* a, const ggml_tensor* positions) {
  each(t, [&](int64_t i, int64_t j, int64_t k) {
    const float step =
        std::pow(parameter(t, 0), -static_cast<float>(i / 2 * 2) / static_cast<float>(t->ne[0]));
    const float angle = (static_cast<float>(id(positions, k)) + parameter(t, 1)) * step;
    const float c = std::cos(angle), s = std::sin(angle);
    const float even = at(a, i / 2 * 2, j, k), odd = at(a, i / 2 * 2 + 1, j, k);
    return i % 2 == 0 ? even * c - odd * s : even * s + odd * c;
  });
}

void flash(ggml_tensor* t) {  // [dim, heads, S] of q [dim, S, heads], k and v [dim, slots, kv heads]
  const ggml_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *mask = t->src[3];
  const int64_t group = q->ne[2] / k->ne[2];
  for (int64_t h = 0; h < q->ne[2]; ++h) {
    for (int64_t j = 0; j < q->ne[1]; ++j) {
      ggml_tensor row = {};
      std::vector<float> scores(static_cast<size_t>(k->ne[1]));
      for (int64_t s = 0; s < k->ne[1]; ++s) scores[static_cast<size_t>(s)] = product(k, q, s, j, h);
      lay_out(row, kF32, k->ne[1], 1, 1);
      row.data = reinterpret_cast<char*>(scores.data());
      ggml_tensor seen = *mask;
      seen.data += static_cast<size_t>(j) * mask->nb[1];
      const std::vector<float> w = weights(&row, &seen, parameter(t, 0), 0, 0);
      for (int64_t d = 0; d < t->ne[0]; ++d) {
        float sum = 0;
        for (int64_t s = 0; s < k->ne[1]; ++s) sum += w[static_cast<size_t>(s)] * at(v, d, s, h / group);
        at(t, d, h, j) = sum;
      }
    }
  }
}

void compute(ggml_tensor* t) {
  const ggml_tensor *a = t->src[0], *b = t->src[1];
  switch (t->op) {
    case Op::add: return each(t, [&](auto i, auto j, auto k) { return at(a, i, j, k) + at(b, i, j, k); });
    case Op::mul: return each(t, [&](auto i, auto j, auto) { return at(a, i, j) * at(b, i); });
    case Op::mul_mat: return each(t, [&](auto i, auto j, auto k) { return product(a, b, i, j, k); });
    case Op::scale: return each(t, [&](auto i, auto j, auto k) { return at(a, i, j, k) * parameter(t, 0); });
    case Op::get_rows: return each(t, [&](auto i, auto j, auto) { return at(a, i, id(b, j)); });
    case Op::cont: return each(t, [&](auto i, auto j, auto k) { return at(a, i, j, k); });
    case Op::sqr: return each(t, [&](auto i, auto j, auto k) { return at(a, i, j, k) * at(a, i, j, k); });
    case Op::glu:
      return each(
          t, [&](auto i, auto j, auto) { return at(a, i, j) / (1 + std::exp(-at(a, i, j))) * at(b, i, j); });
    case Op::rms_norm: return rms_norm(t, a);
    case Op::rope: return rope(t, a, b);
    case Op::flash_attn_ext: return flash(t);
    case Op::soft_max:
      for (int64_t k = 0; k < t->ne[2]; ++k)
        for (int64_t j = 0; j < t->ne[1]; ++j) {
          const std::vector<float> row = weights(a, b, parameter(t, 0), j, k);
          for (int64_t i = 0; i < t->ne[0]; ++i) at(t, i, j, k) = row[static_cast<size_t>(i)];
        }
      return;
    case Op::set_rows:
      for (int64_t j = 0; j < a->ne[1]; ++j)
        for (int64_t i = 0; i < a->ne[0]; ++i)
          at(t, i, reinterpret_cast<const int64_t*>(b->data)[j]) = at(a, i, j);
      return;
    default: return;
  }
}

struct Scheduler {
  bool (*callback)(ggml_tensor*, bool, void*) = nullptr;
  void* data = nullptr;
};

}  // namespace

FAKE_API ggml_tensor* fake_leaf(const char* name, int type, int64_t ne0, int64_t ne1, void* data) {
  ggml_tensor* t = made();
  lay_out(*t, type, ne0, ne1, 1);
  std::strncpy(t->name, name, sizeof t->name - 1);
  t->data = static_cast<char*>(data);
  return t;
}

FAKE_API ggml_tensor* fake_node(Op op, int64_t ne0, int64_t ne1, int64_t ne2, ggml_tensor* a, ggml_tensor* b,
                                ggml_tensor* c, ggml_tensor* d) {
  ggml_tensor* t = made();
  lay_out(*t, kF32, ne0, ne1, ne2);
  memory.emplace_back(static_cast<size_t>(ne0 * ne1 * ne2));
  t->data = reinterpret_cast<char*>(memory.back().data());
  t->op = op;
  ggml_tensor* const sources[4] = {a, b, c, d};
  std::copy_n(sources, 4, t->src);
  fresh.push_back(t);
  return t;
}

FAKE_API ggml_tensor* fake_view(Op op, ggml_tensor* a, const int64_t (&ne)[3], const int64_t (&stride)[3]) {
  ggml_tensor* t = made();
  lay_out(*t, a->type, ne[0], ne[1], ne[2]);
  for (int i = 0; i < 3; ++i) t->nb[i] = static_cast<size_t>(stride[i]) * size_of(a->type);
  t->op = op;
  t->src[0] = a;
  t->view_src = a->view_src != nullptr ? a->view_src : a;
  t->data = a->data;
  fresh.push_back(t);
  return t;
}

FAKE_API ggml_tensor* fake_set_rows(ggml_tensor* cache, ggml_tensor* rows, ggml_tensor* slots) {
  ggml_tensor* t = fake_view(Op::set_rows, cache, {cache->ne[0], cache->ne[1], 1}, {1, cache->ne[0], 0});
  t->src[0] = rows;
  t->src[1] = slots;
  return t;
}

FAKE_API void fake_parameter(ggml_tensor* t, int i, float value) {
  std::memcpy(&t->op_params[i], &value, sizeof value);
}
FAKE_API const float* fake_values(const ggml_tensor* t) { return reinterpret_cast<const float*>(t->data); }

FAKE_API ggml_cgraph* fake_graph() {
  graphs.push_back({std::move(fresh)});
  fresh.clear();
  return &graphs.back();
}

// What ggml exports.

struct InitParams {
  size_t size;
  void* buffer;
  bool no_alloc;
};
struct Context {
  char *at, *end;
};

namespace {

/// In the caller's memory, as ggml does.
ggml_tensor* in_context(void* context, int type, int64_t ne0, int64_t ne1) {
  auto& c = *static_cast<Context*>(context);
  auto* t = new (c.at) ggml_tensor{};
  lay_out(*t, type, ne0, ne1, 1);
#if FAKE_LAYOUT == 2
  std::copy_n(t->ne, 4, t->shape);
  std::fill_n(t->ne, 4, 0);
#endif
  t->data = c.at + sizeof(ggml_tensor);
  c.at += sizeof(ggml_tensor) + 2048;
  return t;
}

}  // namespace

FAKE_API void* ggml_init(InitParams params) {
  char* at = static_cast<char*>(params.buffer);
  return new (at) Context{at + 64, at + params.size};
}
FAKE_API void ggml_free(void*) {}
FAKE_API void* ggml_new_tensor_2d(void* context, int type, int64_t ne0, int64_t ne1) {
  return in_context(context, type, ne0, ne1);
}
FAKE_API void* ggml_mul_mat(void* context, ggml_tensor* a, ggml_tensor* b) {
  ggml_tensor* t = in_context(context, kF32, a->ne[1], b->ne[1]);
  t->op = Op::mul_mat;
  t->src[0] = a;
  t->src[1] = b;
  return t;
}
FAKE_API void* ggml_view_1d(void* context, ggml_tensor* a, int64_t ne0, size_t offset) {
  ggml_tensor* t = in_context(context, a->type, ne0, 1);
  t->op = Op::view;
  t->src[0] = t->view_src = a;
  t->view_offs = offset;
  t->data = a->data + offset;
  return t;
}
FAKE_API void* ggml_scale(void* context, ggml_tensor* a, float factor) {
  ggml_tensor* t = in_context(context, a->type, a->ne[0], a->ne[1]);
  t->op = Op::scale;
  t->src[0] = a;
  fake_parameter(t, 0, factor);
  return t;
}
FAKE_API void* ggml_get_data(const ggml_tensor* t) { return t->data; }
FAKE_API const char* ggml_get_name(const ggml_tensor* t) { return t->name; }
FAKE_API const char* ggml_op_name(int op) {
  static const char* const kNames[] = {"NONE",           "ADD",      "MUL",      "MUL_MAT", "SCALE",
                                       "RMS_NORM",       "GET_ROWS", "SET_ROWS", "ROPE",    "SOFT_MAX",
                                       "FLASH_ATTN_EXT", "GLU",      "VIEW",     "RESHAPE", "PERMUTE",
                                       "TRANSPOSE",      "CONT",     "SQR"};
  return op >= 0 && op < static_cast<int>(std::size(kNames)) ? kNames[op] : "?";
}
FAKE_API const char* ggml_type_name(int type) {
  return type == kF32 ? "f32" : type == kF16 ? "f16" : type == kI64 ? "i64" : "i32";
}
FAKE_API size_t ggml_nbytes(const ggml_tensor* t) {
  size_t size = size_of(t->type);
  for (int i = 0; i < 4; ++i) size += static_cast<size_t>(t->ne[i] - 1) * t->nb[i];
  return size;
}
FAKE_API void ggml_backend_tensor_get(const ggml_tensor* t, void* to, size_t offset, size_t size) {
  std::memcpy(to, t->data + offset, size);
}
FAKE_API int ggml_graph_n_nodes(ggml_cgraph* graph) { return static_cast<int>(graph->nodes.size()); }
FAKE_API ggml_tensor* ggml_graph_node(ggml_cgraph* graph, int i) {
  return graph->nodes[static_cast<size_t>(i)];
}
FAKE_API void* fake_scheduler() { return new Scheduler; }
FAKE_API void ggml_backend_sched_synchronize(void*) {}
FAKE_API void llama_set_warmup(void*, bool) {}
FAKE_API void ggml_backend_sched_set_eval_callback(void* sched, bool (*callback)(ggml_tensor*, bool, void*),
                                                   void* data) {
  *static_cast<Scheduler*>(sched) = {callback, data};
}
FAKE_API int ggml_backend_sched_graph_compute_async(void* sched, ggml_cgraph* graph) {
  const Scheduler& s = *static_cast<Scheduler*>(sched);
  for (ggml_tensor* node : graph->nodes) {
    const bool need = s.callback != nullptr && s.callback(node, true, s.data);
    compute(node);
    if (need && !s.callback(node, false, s.data)) break;
  }
  return 0;
}
FAKE_API int ggml_backend_sched_graph_compute(void* sched, ggml_cgraph* graph) {
  return ggml_backend_sched_graph_compute_async(sched, graph);
}
