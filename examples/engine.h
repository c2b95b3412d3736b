/* A small engine for GGUF models of type llama, to show where greta_trace.h goes into an engine. This file
   has what is the same on every device: the forward pass and its recording. engine.c (CPU) and engine.cu
   (CUDA, HIP) include it and have the kernels that are declared here. C99 and C++17.

   All is f32. Prefill multiplies by one kernel (many rows), decode by another (one row): what GRETA is for.
   --bug puts one of five mistakes into one of the two. */
#ifndef GRETA_EXAMPLE_ENGINE_H
#define GRETA_EXAMPLE_ENGINE_H

#include "gguf.h"
#define GRETA_TRACE_IMPLEMENTATION
#include "greta_trace.h"

/* ---- What a device has. Memory is the device's, tensors are dense, rows are tokens. ---- */

static const char* device_name(void);
static float* device_floats(size_t n); /* zeros */
static void device_free(float* memory);
static void device_write(float* to, const float* host, size_t n);
static void device_move(float* to, const float* from, size_t n);
static int device_read(void* unused, void* host, const void* from, size_t bytes); /* a greta_trace_copy */

static void rms_norm(float* y, const float* x, const float* weight, int rows, int width, float eps);
/* y[rows, n] = x[rows, k] times the transposed weight[n, k]: of many rows, and of one. column_major is a
   bug. */
static void gemm(float* y, const float* x, const float* weight, int rows, int n, int k);
static void gemv(float* y, const float* x, const float* weight, int n, int k, int column_major);
/* Turns the adjacent pairs of each head, in place; the first row is at position `first`. */
static void rope(float* x, int rows, int heads, int head_dim, int first, float base);
/* y[head, row, position] of n_pos cached keys. A row sees those up to its own position + more; the rest is
   -inf. */
static void scores(float* y, const float* q, const float* keys, const Model* m, int rows, int n_pos,
                   int first, int more);
static void softmax(float* y, const float* x, int rows, int n_pos);
static void mix(float* y, const float* weights, const float* values, const Model* m, int rows, int n_pos);
static void silu_mul(float* y, const float* gate, const float* up, size_t n);
static void add(float* y, const float* a, const float* b, size_t n);

/* ---- The engine ---- */

typedef enum Bug { NO_BUG, WQ_COLUMN_MAJOR, ROPE_POSITION, KV_SLOT, MASK_OFFSET, GLU_SWAPPED, BUGS } Bug;

static const char* const kBugs[BUGS][2] = {
    {"none", "the engine as it is"},
    {"wq_column_major", "decode reads Wq column-major"},
    {"rope_position", "decode turns q and k by the next position's angle"},
    {"kv_slot", "decode writes its key and value one slot on"},
    {"mask_offset", "prefill's rows see the next position, too"},
    {"glu_swapped", "decode swaps gate and up"},
};

enum { X, X_ATTN, NORMED, Q, K, V, QK, P, PV, BRANCH, GATED, UPPED, ACT, LOGITS, BUFFERS };

typedef struct Engine {
  Model m;
  Bug bug;
  int room;             /* positions in the cache */
  float *keys, *values; /* [layer, position, head, head_dim] */
  float* at[BUFFERS];
  greta_trace trace; /* 0: nothing is recorded */
} Engine;

static size_t kv_width(const Model* m) { return (size_t)m->n_head_kv * (size_t)m->head_dim; }

static float* cache_row(const Engine* e, float* cache, int layer, int position) {
  return cache + ((size_t)layer * (size_t)e->room + (size_t)position) * kv_width(&e->m);
}

static void to_device(Tensor* tensor) {
  float* host = tensor->data;
  tensor->data = device_floats(tensor->size);
  device_write(tensor->data, host, tensor->size);
  free(host);
}

static void start(Engine* e, int n_tokens) {
  Model* m = &e->m;
  const size_t rows = (size_t)n_tokens, embd = (size_t)m->n_embd, ff = (size_t)m->n_ff, kv = kv_width(m);
  const size_t pairs = rows * (size_t)m->n_head * (size_t)(n_tokens + 1);
  const size_t sizes[BUFFERS] = {rows * embd, rows * embd, rows * embd, rows * embd,       rows * kv,
                                 rows * kv,   pairs,       pairs,       rows * embd,       rows * embd,
                                 rows * ff,   rows * ff,   rows * ff,   (size_t)m->n_vocab};
  int i, layer;
  if (m->output.data == NULL) {
    m->output = m->embedding;
    m->output.data = (float*)allocated(m->output.size * sizeof(float));
    memcpy(m->output.data, m->embedding.data, m->output.size * sizeof(float));
  }
  to_device(&m->output);
  to_device(&m->output_norm);
  for (layer = 0; layer < m->n_layer; ++layer) {
    for (i = 0; i < ROLES; ++i) to_device(&m->layers[layer][i]);
  }
  e->room = n_tokens + 2;
  e->keys = device_floats((size_t)m->n_layer * (size_t)e->room * kv);
  e->values = device_floats((size_t)m->n_layer * (size_t)e->room * kv);
  for (i = 0; i < BUFFERS; ++i) e->at[i] = device_floats(sizes[i]);
}

static void stop(Engine* e) {
  Model* m = &e->m;
  int i, layer;
  for (i = 0; i < BUFFERS; ++i) device_free(e->at[i]);
  for (layer = 0; layer < m->n_layer; ++layer) {
    for (i = 0; i < ROLES; ++i) device_free(m->layers[layer][i].data);
  }
  device_free(e->keys);
  device_free(e->values);
  device_free(m->output.data);
  device_free(m->output_norm.data);
  free(m->embedding.data);
  free(m->layers);
}

/* ---- The recording: what an engine adds ---- */

static void see(const Engine* e, const char* stage, int layer, const float* x, int rows, int width,
                int first) {
  if (e->trace) greta_trace_rows(e->trace, stage, layer, x, GRETA_TRACE_F32, rows, width, first);
}

/* A stage that is more than dense rows: an event says how it lies. */
static void see_scores(const Engine* e, const char* stage, int layer, const float* x, int rows, int n_pos,
                       int first) {
  const int64_t strides[3] = {n_pos, (int64_t)rows * n_pos,
                              1}; /* of [row, head, position] in [head, row, position] */
  greta_trace_event event = GRETA_TRACE_ZERO;
  event.stage = stage, event.layer = layer, event.data = x, event.strides = strides, event.position = first;
  event.shape[0] = rows, event.shape[1] = e->m.n_head, event.shape[2] = n_pos;
  if (e->trace) greta_trace_stage(e->trace, &event);
}

static void see_cache(const Engine* e, const char* stage, int layer, int first, int n) {
  greta_trace_event event = GRETA_TRACE_ZERO;
  event.stage = stage, event.layer = layer, event.position = first;
  event.data = cache_row(e, e->keys, layer, first), event.values = cache_row(e, e->values, layer, first);
  event.shape[0] = n, event.shape[1] = e->m.n_head_kv, event.shape[2] = e->m.head_dim;
  if (e->trace) greta_trace_stage(e->trace, &event);
}

/* ---- The forward pass ---- */

/* The bug at hand, in decode; that of the mask in prefill. */
static int has(const Engine* e, Bug bug, int decoding) {
  return e->bug == bug && decoding == (bug != MASK_OFFSET);
}

static void multiply(float* y, const float* x, const Tensor* weight, int rows, int k, int decoding,
                     int column_major) {
  const int n = (int)(weight->size / (size_t)k);
  if (decoding) {
    gemv(y, x, weight->data, n, k, column_major);
  } else {
    gemm(y, x, weight->data, rows, n, k);
  }
}

static void attention(Engine* e, int layer, int rows, int first, int decoding) {
  const Model* m = &e->m;
  const Tensor* w = m->layers[layer];
  float** a = e->at;
  const int q_width = m->n_embd, kv = (int)kv_width(m), n_pos = first + rows;
  const int turn = first + has(e, ROPE_POSITION, decoding), slot = first + has(e, KV_SLOT, decoding);
  multiply(a[Q], a[NORMED], &w[WQ], rows, m->n_embd, decoding, has(e, WQ_COLUMN_MAJOR, decoding));
  multiply(a[K], a[NORMED], &w[WK], rows, m->n_embd, decoding, 0);
  multiply(a[V], a[NORMED], &w[WV], rows, m->n_embd, decoding, 0);
  see(e, "q", layer, a[Q], rows, q_width, first);
  see(e, "k", layer, a[K], rows, kv, first);
  see(e, "v", layer, a[V], rows, kv, first);
  rope(a[Q], rows, m->n_head, m->head_dim, turn, m->rope_base);
  rope(a[K], rows, m->n_head_kv, m->head_dim, turn, m->rope_base);
  see(e, "q_rope", layer, a[Q], rows, q_width, first);
  see(e, "k_rope", layer, a[K], rows, kv, first);
  device_move(cache_row(e, e->keys, layer, slot), a[K], (size_t)rows * (size_t)kv);
  device_move(cache_row(e, e->values, layer, slot), a[V], (size_t)rows * (size_t)kv);
  if (decoding) see_cache(e, "kv_next", layer, n_pos, 1);
  see_cache(e, "kv_write", layer, 0, n_pos);
  scores(a[QK], a[Q], cache_row(e, e->keys, layer, 0), m, rows, n_pos, first, has(e, MASK_OFFSET, decoding));
  see_scores(e, "qk", layer, a[QK], rows, n_pos, first);
  softmax(a[P], a[QK], rows * m->n_head, n_pos);
  see_scores(e, "softmax", layer, a[P], rows, n_pos, first);
  mix(a[PV], a[P], cache_row(e, e->values, layer, 0), m, rows, n_pos);
  see(e, "pv", layer, a[PV], rows, q_width, first);
  multiply(a[BRANCH], a[PV], &w[WO], rows, q_width, decoding, 0);
  see(e, "attn_out", layer, a[BRANCH], rows, m->n_embd, first);
}

static void feed_forward(Engine* e, int layer, int rows, int first, int decoding) {
  const Model* m = &e->m;
  const Tensor* w = m->layers[layer];
  float** a = e->at;
  const int swapped = has(e, GLU_SWAPPED, decoding);
  multiply(a[GATED], a[NORMED], &w[GATE], rows, m->n_embd, decoding, 0);
  multiply(a[UPPED], a[NORMED], &w[UP], rows, m->n_embd, decoding, 0);
  see(e, "gate", layer, a[GATED], rows, m->n_ff, first);
  see(e, "up", layer, a[UPPED], rows, m->n_ff, first);
  silu_mul(a[ACT], a[swapped ? UPPED : GATED], a[swapped ? GATED : UPPED], (size_t)rows * (size_t)m->n_ff);
  see(e, "act", layer, a[ACT], rows, m->n_ff, first);
  multiply(a[BRANCH], a[ACT], &w[DOWN], rows, m->n_ff, decoding, 0);
  see(e, "down", layer, a[BRANCH], rows, m->n_embd, first);
}

/* Tokens at positions first, first + 1, ...; the logits of the last are left in e->at[LOGITS]. */
static void forward(Engine* e, const int32_t* tokens, int rows, int first, int decoding) {
  const Model* m = &e->m;
  float** a = e->at;
  const int embd = m->n_embd, last = rows - 1;
  const size_t all = (size_t)rows * (size_t)embd;
  int i, layer;
  for (i = 0; i < rows; ++i)
    device_write(a[X] + (size_t)i * (size_t)embd, m->embedding.data + (size_t)tokens[i] * (size_t)embd,
                 (size_t)embd);
  for (layer = 0; layer < m->n_layer; ++layer) {
    const Tensor* w = m->layers[layer];
    see(e, "x_in", layer, a[X], rows, embd, first);
    rms_norm(a[NORMED], a[X], w[ATTN_NORM].data, rows, embd, m->eps);
    see(e, "attn_norm", layer, a[NORMED], rows, embd, first);
    attention(e, layer, rows, first, decoding);
    add(a[X_ATTN], a[X], a[BRANCH], all);
    see(e, "x_attn", layer, a[X_ATTN], rows, embd, first);
    rms_norm(a[NORMED], a[X_ATTN], w[FFN_NORM].data, rows, embd, m->eps);
    see(e, "ffn_norm", layer, a[NORMED], rows, embd, first);
    feed_forward(e, layer, rows, first, decoding);
    add(a[X], a[X_ATTN], a[BRANCH], all);
    see(e, "x_out", layer, a[X], rows, embd, first);
  }
  rms_norm(a[NORMED], a[X] + (size_t)last * (size_t)embd, m->output_norm.data, 1, embd, m->eps);
  see(e, "final_norm", -1, a[NORMED], 1, embd, first + last);
  multiply(a[LOGITS], a[NORMED], &m->output, 1, embd, decoding, 0);
  see(e, "logits", -1, a[LOGITS], 1, m->n_vocab, first + last);
}

static int32_t most_likely(const Engine* e) {
  const size_t n = (size_t)e->m.n_vocab;
  float* logits = (float*)allocated(n * sizeof *logits);
  int32_t best = 0, i;
  device_read(NULL, logits, e->at[LOGITS], n * sizeof *logits);
  for (i = 1; i < e->m.n_vocab; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  free(logits);
  return best;
}

/* ---- The program ---- */

typedef struct Options {
  const char *model, *out, *tokens;
  Bug bug;
} Options;

static void usage(void) {
  int i;
  fprintf(stderr, "usage: engine MODEL.gguf [--tokens 1,2,3] [--out BUNDLE] [--bug NAME]\n");
  for (i = 0; i < BUGS; ++i) fprintf(stderr, "  %-16s %s\n", kBugs[i][0], kBugs[i][1]);
  exit(2);
}

static Options options_of(int argc, char** argv) {
  Options o = {NULL, NULL, "1,9,17,25,33,41,2,10,18,26,34,42", NO_BUG};
  int i, bug;
  for (i = 1; i < argc; ++i) {
    if (argv[i][0] != '-' && o.model == NULL) {
      o.model = argv[i];
    } else if (i + 1 < argc && strcmp(argv[i], "--out") == 0) {
      o.out = argv[++i];
    } else if (i + 1 < argc && strcmp(argv[i], "--tokens") == 0) {
      o.tokens = argv[++i];
    } else if (i + 1 < argc && strcmp(argv[i], "--bug") == 0) {
      for (bug = 0, ++i; bug < BUGS && strcmp(argv[i], kBugs[bug][0]) != 0;) ++bug;
      if (bug == BUGS) usage();
      o.bug = (Bug)bug;
    } else {
      usage();
    }
  }
  if (o.model == NULL) usage();
  return o;
}

static int32_t* tokens_of(const char* text, const Model* m, int* n) {
  int32_t* tokens = (int32_t*)allocated((strlen(text) + 1) * sizeof *tokens);
  char* end;
  for (*n = 0;; text = end + 1) {
    const long token = strtol(text, &end, 10);
    if (end == text || token < 0 || token >= m->n_vocab) die("no token of this model:", text);
    tokens[(*n)++] = (int32_t)token;
    if (*end == 0) return tokens;
    if (*end != ',') die("tokens are numbers with commas between:", text);
  }
}

int main(int argc, char** argv) {
  const Options options = options_of(argc, argv);
  Engine e;
  greta_trace_meta meta = GRETA_TRACE_ZERO;
  int32_t* tokens;
  int n, layer, code = 0;
  memset(&e, 0, sizeof e);
  e.m = read_model(options.model);
  e.bug = options.bug;
  tokens = tokens_of(options.tokens, &e.m, &n);
  start(&e, n);

  if (options.out != NULL) {
    meta.engine = "example-engine", meta.device = device_name(), meta.model_file = options.model;
    meta.threads = 1, meta.copy = device_read, meta.shared_cache = 1, meta.decode0_row = "zeros";
    e.trace = greta_trace_open(options.out, &meta);
    if (e.trace == 0) die("no trace:", greta_trace_error());
    greta_trace_prompt(e.trace, "tokens", NULL, tokens, (size_t)n);
    greta_trace_begin(e.trace, "prefill", "tokens", NULL);
  }
  forward(&e, tokens, n, 0, 0);
  printf("prefill says %d\n", (int)most_likely(&e));

  /* The last token once more, on the cache without its row: what decode does must come to the same. */
  for (layer = 0; layer < e.m.n_layer; ++layer) {
    device_move(cache_row(&e, e.keys, layer, n - 1), cache_row(&e, e.keys, layer, n + 1), kv_width(&e.m));
    device_move(cache_row(&e, e.values, layer, n - 1), cache_row(&e, e.values, layer, n + 1), kv_width(&e.m));
  }
  if (e.trace) greta_trace_begin(e.trace, "decode0", "tokens", NULL);
  forward(&e, tokens + n - 1, 1, n - 1, 1);
  printf("decode says %d\n", (int)most_likely(&e));

  if (e.trace && greta_trace_close(e.trace) != GRETA_TRACE_OK) {
    fprintf(stderr, "engine: the trace is not whole: %s\n", greta_trace_error());
    code = 3;
  }
  stop(&e);
  free(tokens);
  return code;
}

#endif
