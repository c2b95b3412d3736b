/* A GGUF file of a llama, its weights decoded to f32 (F32, F16, Q8_0, Q4_1). Of use to the examples alone. */
#ifndef GRETA_EXAMPLE_GGUF_H
#define GRETA_EXAMPLE_GGUF_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char* what, const char* which) {
  fprintf(stderr, "engine: %s %s\n", what, which);
  exit(2);
}

static void* allocated(size_t bytes) {
  void* memory = calloc(bytes + 1, 1);
  if (memory == NULL) die("out of memory:", "use a smaller model");
  return memory;
}

typedef struct Tensor {
  float* data; /* [n, k], or [k] */
  size_t size;
} Tensor;

enum { ATTN_NORM, WQ, WK, WV, WO, FFN_NORM, GATE, UP, DOWN, ROLES };

static const char* const kRoles[ROLES] = {"attn_norm", "attn_q",   "attn_k", "attn_v",  "attn_output",
                                          "ffn_norm",  "ffn_gate", "ffn_up", "ffn_down"};

typedef struct Model {
  int n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab;
  float eps, rope_base;
  Tensor embedding, output_norm, output;
  Tensor (*layers)[ROLES];
} Model;

/* What of the file is not read yet. */
typedef struct Reader {
  const unsigned char *at, *end;
} Reader;

static const unsigned char* take(Reader* r, uint64_t bytes) {
  const unsigned char* at = r->at;
  if (bytes > (uint64_t)(r->end - r->at)) die("the model file", "ends too early");
  r->at += bytes;
  return at;
}

static uint64_t take_int(Reader* r, int bytes) {
  uint64_t value = 0;
  memcpy(&value, take(r, (uint64_t)bytes), (size_t)bytes);
  return value;
}

static void take_text(Reader* r, char text[64]) {
  const uint64_t size = take_int(r, 8);
  const unsigned char* bytes = take(r, size);
  memset(text, 0, 64);
  memcpy(text, bytes, size < 63 ? (size_t)size : 63);
}

/* A number, where the value is one; what is none is passed over. */
static double take_value(Reader* r, uint64_t type) {
  static const int kBytes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  float value = 0;
  char text[64];
  if (type > 12) die("the model file", "has a value of an unknown type");
  if (type == 8) {
    take_text(r, text);
  } else if (type == 9) {
    const uint64_t of = take_int(r, 4);
    uint64_t n = take_int(r, 8);
    if (of == 9) die("the model file", "has lists of lists");
    while (n-- > 0) take_value(r, of);
  } else if (type == 6) {
    memcpy(&value, take(r, 4), 4);
  } else {
    return (double)take_int(r, kBytes[type]);
  }
  return value;
}

static void read_settings(Reader* r, uint64_t count, Model* m) {
  m->rope_base = 10000;
  while (count-- > 0) {
    char key[64], text[64];
    uint64_t type;
    double value;
    take_text(r, key);
    type = take_int(r, 4);
    if (strcmp(key, "general.architecture") == 0) {
      take_text(r, text);
      if (strcmp(text, "llama") != 0) die("this engine runs models of type llama, not", text);
      continue;
    }
    value = take_value(r, type);
    if (strcmp(key, "llama.block_count") == 0) m->n_layer = (int)value;
    if (strcmp(key, "llama.embedding_length") == 0) m->n_embd = (int)value;
    if (strcmp(key, "llama.attention.head_count") == 0) m->n_head = (int)value;
    if (strcmp(key, "llama.attention.head_count_kv") == 0) m->n_head_kv = (int)value;
    if (strcmp(key, "llama.feed_forward_length") == 0) m->n_ff = (int)value;
    if (strcmp(key, "llama.attention.layer_norm_rms_epsilon") == 0) m->eps = (float)value;
    if (strcmp(key, "llama.rope.freq_base") == 0) m->rope_base = (float)value;
  }
  if (m->n_layer <= 0 || m->n_layer > 1000 || m->n_head <= 0 || m->n_embd <= 0 || m->n_embd % m->n_head != 0)
    die("the model file", "lacks its dimensions");
  if (m->n_head_kv <= 0) m->n_head_kv = m->n_head;
  m->head_dim = m->n_embd / m->n_head;
}

static float half(const unsigned char* at) {
  const uint32_t bits = at[0] | (uint32_t)at[1] << 8;
  const uint32_t word = (bits & 0x8000u) << 16 | (bits & 0x7fffu) << 13;
  float value;
  memcpy(&value, &word, sizeof value);
  return value * 5192296858534827628530496329220096.0f; /* 2^112: from one exponent's bias to the other's */
}

static void decode(Reader data, uint64_t type, float* y, size_t n) {
  size_t i, j;
  if (type == 0) {
    memcpy(y, take(&data, n * sizeof *y), n * sizeof *y);
  } else if (type == 1) {
    for (i = 0; i < n; ++i) y[i] = half(take(&data, 2));
  } else if (type == 3) { /* Q4_1 */
    for (i = 0; i + 32 <= n; i += 32) {
      const unsigned char* block = take(&data, 20);
      const float d = half(block), least = half(block + 2);
      for (j = 0; j < 16; ++j) {
        y[i + j] = d * (float)(block[4 + j] & 15) + least;
        y[i + j + 16] = d * (float)(block[4 + j] >> 4) + least;
      }
    }
  } else if (type == 8) { /* Q8_0 */
    for (i = 0; i + 32 <= n; i += 32) {
      const unsigned char* block = take(&data, 34);
      for (j = 0; j < 32; ++j) y[i + j] = half(block) * (float)(signed char)block[2 + j];
    }
  } else {
    die("weights of type F32, F16, Q8_0 and Q4_1 are read;", "one has another type");
  }
}

/* Where a tensor of that name belongs; NULL: nowhere. */
static Tensor* place_of(Model* m, const char* name) {
  char role[64];
  int layer, i;
  if (strcmp(name, "token_embd.weight") == 0) return &m->embedding;
  if (strcmp(name, "output_norm.weight") == 0) return &m->output_norm;
  if (strcmp(name, "output.weight") == 0) return &m->output;
  if (sscanf(name, "blk.%d.%63[a-z_].weight", &layer, role) != 2 || layer < 0 || layer >= m->n_layer)
    return NULL;
  for (i = 0; i < ROLES; ++i) {
    if (strcmp(role, kRoles[i]) == 0) return &m->layers[layer][i];
  }
  return NULL;
}

/* Twice over the list: the data begin where it ends, and that is known after the first time. */
static void read_tensors(Reader* r, const unsigned char* begin, uint64_t count, Model* m) {
  const Reader list = *r;
  const unsigned char* data = NULL;
  int pass;
  for (pass = 0; pass < 2; ++pass) {
    uint64_t i;
    if (pass == 1) data = begin + ((uint64_t)(r->at - begin) + 31) / 32 * 32;
    *r = list;
    for (i = 0; i < count; ++i) {
      char name[64];
      uint64_t n_dims, n = 1, type, offset;
      Tensor* place;
      Reader values;
      take_text(r, name);
      for (n_dims = take_int(r, 4); n_dims > 0; --n_dims) n *= take_int(r, 8);
      type = take_int(r, 4);
      offset = take_int(r, 8);
      place = place_of(m, name);
      if (pass == 0 || place == NULL) continue;
      if (n > (uint64_t)1 << 32 || data > r->end || offset > (uint64_t)(r->end - data))
        die("too large:", name);
      values.at = data + offset;
      values.end = r->end;
      place->size = (size_t)n;
      place->data = (float*)allocated((size_t)n * sizeof(float));
      decode(values, type, place->data, (size_t)n);
    }
  }
}

static void need(const Tensor* tensor, size_t size, const char* name) {
  if (tensor->size != size) die("missing, or of another shape:", name);
}

static void check_tensors(Model* m) {
  const size_t embd = (size_t)m->n_embd, ff = (size_t)m->n_ff,
               kv = (size_t)m->n_head_kv * (size_t)m->head_dim;
  int layer, i;
  m->n_vocab = (int)(m->embedding.size / embd);
  need(&m->embedding, (size_t)m->n_vocab * embd, "token_embd");
  if (m->output.data != NULL)
    need(&m->output, (size_t)m->n_vocab * embd, "output"); /* else the embedding is it */
  need(&m->output_norm, embd, "output_norm");
  for (layer = 0; layer < m->n_layer; ++layer) {
    const size_t sizes[ROLES] = {embd, embd * embd, kv * embd, kv * embd, embd * embd,
                                 embd, ff * embd,   ff * embd, ff * embd};
    for (i = 0; i < ROLES; ++i) need(&m->layers[layer][i], sizes[i], kRoles[i]);
  }
}

static Model read_model(const char* path) {
  Model m;
  Reader r;
  FILE* file = fopen(path, "rb");
  unsigned char* bytes;
  long size = 0;
  uint64_t n_tensors, n_settings;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 24) die("cannot read", path);
  rewind(file);
  bytes = (unsigned char*)allocated((size_t)size);
  if (fread(bytes, 1, (size_t)size, file) != (size_t)size) die("cannot read", path);
  fclose(file);
  if (memcmp(bytes, "GGUF\3\0\0\0", 8) != 0) die("no GGUF file of version 3:", path);
  memset(&m, 0, sizeof m);
  r.at = bytes + 8;
  r.end = bytes + size;
  n_tensors = take_int(&r, 8);
  n_settings = take_int(&r, 8);
  read_settings(&r, n_settings, &m);
  m.layers = (Tensor(*)[ROLES])allocated((size_t)m.n_layer * sizeof *m.layers);
  read_tensors(&r, bytes, n_tensors, &m);
  free(bytes);
  check_tensors(&m);
  return m;
}

#endif
