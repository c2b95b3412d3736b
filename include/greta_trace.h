/* greta_trace.h: a trace of your LLM engine, which `greta diagnose` judges. One file, C99 or C++17 (also in
   CUDA and HIP sources), nothing but libc.

   In ONE source file:                   In all others that record:
     #define GRETA_TRACE_IMPLEMENTATION
     #include "greta_trace.h"              #include "greta_trace.h"

   A prompt's prefill, then one step on the same cache with the prompt's last token at its own position:

     greta_trace_meta meta = GRETA_TRACE_ZERO;
     meta.engine = "my-engine";
     greta_trace trace = greta_trace_open("my-bundle", &meta);
     greta_trace_prompt(trace, "hello", NULL, tokens, n_tokens);
     greta_trace_begin(trace, "prefill", "hello", NULL);
     ...  greta_trace_rows(trace, "q", layer, q, GRETA_TRACE_F32, n_rows, n_head * head_dim, first_position);
     greta_trace_begin(trace, "decode0", "hello", NULL);
     ...  the same calls with one row at position n_tokens - 1
     if (greta_trace_close(trace) != GRETA_TRACE_OK) puts(greta_trace_error());

   then `greta diagnose my-bundle -m model.gguf`. docs/capture.md is the five minutes' guide,
   docs/trace-format.md has the stages and their shapes.

   Errors. Every function but open gives a greta_trace_result; greta_trace_error() says in words what was
   wrong with the last call of this thread that failed. A call that fails records nothing and harms nothing:
   the bundle stays readable, and other calls go on. Only after GRETA_TRACE_E_IO (a full disk) the trace
   takes nothing more. close gives the first error of all calls, so an engine may look there alone. A trace
   that is closed, or never was one, is an error, too.

   Interruption. Each event is with the operating system, values and all, when its call returns: a program
   that is killed leaves a bundle of all events before. (What the machine's own crash leaves is the file
   system's matter.) So every event has a tensors file of its own; equal values are not looked for.

   Threads. All functions may be called by several threads at once. They share one lock: pthreads, Windows'
   SRW lock, or C11's mtx_t where there is neither. To use your own, define GRETA_TRACE_LOCK() and
   GRETA_TRACE_UNLOCK() before the implementation; in a program of one thread both may be empty. The phase of
   greta_trace_begin is the trace's, not the thread's: a thread that serves another sequence says so in its
   events. The copy function is called outside the lock.

   Licence: Apache-2.0. */
#ifndef GRETA_TRACE_H
#define GRETA_TRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef GRETA_TRACE_API
#define GRETA_TRACE_API extern /* or: static inline, if one file does all */
#endif

/* Of a meta or an event of which nothing is said yet. */
#ifdef __cplusplus
#define GRETA_TRACE_ZERO \
  {}
#else
#define GRETA_TRACE_ZERO \
  { 0 }
#endif

/* A trace that is being written; 0 is none. It is a number, so whatever is made of it is safe. */
typedef uint32_t greta_trace;

typedef enum greta_trace_result {
  GRETA_TRACE_OK = 0,
  GRETA_TRACE_E_ARGUMENT, /* NULL, or a word that the format does not know */
  GRETA_TRACE_E_CLOSED,   /* the trace is closed, or never was one */
  GRETA_TRACE_E_STAGE,    /* no stage of that name, or not in that layer */
  GRETA_TRACE_E_PHASE,    /* no phase was begun, or its name is no phase's */
  GRETA_TRACE_E_SHAPE,    /* shape, strides or positions that make no rows */
  GRETA_TRACE_E_TWICE,    /* recorded before, and otherwise */
  GRETA_TRACE_E_COPY,     /* the copy function failed */
  GRETA_TRACE_E_IO,       /* the disk: full, not writable, in the way */
  GRETA_TRACE_E_MEMORY    /* out of memory; more than 16 traces at a time */
} greta_trace_result;

typedef enum greta_trace_dtype {
  GRETA_TRACE_F32 = 0,
  GRETA_TRACE_F64,
  GRETA_TRACE_F16,
  GRETA_TRACE_BF16,
  GRETA_TRACE_I64,
  GRETA_TRACE_I32,
  GRETA_TRACE_I16,
  GRETA_TRACE_I8,
  GRETA_TRACE_U8
} greta_trace_dtype;

/* Copies `bytes` from where the engine has them (device memory) to `host`, once all that writes them is
   done; 0 if that went well. CUDA: cudaStreamSynchronize(stream) and cudaMemcpy(..., cudaMemcpyDefault),
   which takes host memory too. */
typedef int (*greta_trace_copy)(void* user, void* host, const void* from, size_t bytes);

/* Who records. All but `engine` may be left 0: not said. Texts are copied; UTF-8 (what is not becomes
   U+FFFD). */
typedef struct greta_trace_meta {
  const char* engine;      /* "my-engine" */
  const char* version;     /* of the engine */
  const char* model_file;  /* path of the GGUF */
  const char* model_hash;  /* "sha256:...": diagnose then refuses another file */
  const char* model_name;  /* as people know it */
  const char* device;      /* "cuda:0" */
  const char* isa;         /* "avx2", "sm_90" */
  const char* kv_format;   /* of the cache: "f16" */
  const char* decode0_row; /* what was done to the cache row that decode0 writes: "zeros", "other row", "nan",
                               "freed". Left as prefill wrote it, a missing write shows nowhere. */
  int threads;             /* of the engine */
  int unaligned;           /* 1: decode0 is NOT the last prompt token at its own position */
  int shared_cache;        /* 1: decode0 ran on the cache that this trace's prefill wrote */
  greta_trace_copy copy;   /* how to read the values of events; NULL: they are in host memory */
  void* copy_user;         /* handed to it */
} greta_trace_meta;

enum {
  GRETA_TRACE_HOST = 1,     /* these values are in host memory, whatever meta.copy says */
  GRETA_TRACE_UNSCALED = 2, /* of qk: before attention's scale */
  GRETA_TRACE_UNMASKED = 4, /* of qk: before the mask */
  GRETA_TRACE_UNJUDGED = 8  /* a name of your own for a stage: kept, but not judged */
};

/* One stage of one layer, some rows of it; what is 0 is not said. */
typedef struct greta_trace_event {
  const char* stage;       /* "q"; docs/trace-format.md has them all */
  int layer;               /* from 0; not read for final_norm and logits */
  greta_trace_dtype dtype; /* of the values at `data` */
  const void* data;
  int64_t shape[4]; /* rows first: {rows, width} or {rows, heads, head_dim}; qk, softmax {rows, heads, n_pos};
                               kv_write {n_pos, heads, head_dim}. The first 0 ends it. */
  const int64_t* strides; /* in elements, one for each extent, 0 or more; NULL: row-major and dense */
  const void* values;     /* of kv_write: data are the keys, these the values, in the same shape and dtype */
  const int64_t* value_strides;
  int64_t position;         /* of the first row; the others follow it */
  const int64_t* positions; /* or one for each row, increasing; two that are apart can't be said */
  const char* kernel;       /* as greta_trace_kernel names it */
  const char* route;        /* "matrix", "vector": the unit that ran */
  uint64_t launches;        /* how often the kernel had run by now: attests a forced route */
  const char* held_as;      /* what the engine holds, where these are its values decoded: "q8_0" */
  unsigned flags;           /* GRETA_TRACE_HOST, ... */
  const char* phase;        /* these three: instead of those of greta_trace_begin */
  const char* prompt;
  const char* experiment;
} greta_trace_event;

/* Makes the directory (its parent must be there) and an empty bundle in it. 0 when that fails:
   greta_trace_error(). A directory that holds a bundle already is not touched. */
GRETA_TRACE_API greta_trace greta_trace_open(const char* directory, const greta_trace_meta* meta);

/* A prompt, before its phases. text may be NULL, and tokens. With its tokens the embedding is judged, too,
   and the last prompt token's rows of phase prefill are recorded as prefill_last by themselves. */
GRETA_TRACE_API int greta_trace_prompt(greta_trace trace, const char* id, const char* text,
                                       const int32_t* tokens, size_t n_tokens);

/* What was asked for in decode's q, k and v, if anything: force_route NULL, "auto", "vector" or "matrix". */
GRETA_TRACE_API int greta_trace_experiment(greta_trace trace, const char* name, const char* force_route,
                                           int force_gemm);

/* A kernel's arithmetic: "activation=f16, accumulator=f32, output=f16". The fields are those of
   docs/trace-format.md, "What a kernel declares"; of kernels that are not declared it is inferred. */
GRETA_TRACE_API int greta_trace_kernel(greta_trace trace, const char* name, const char* declared);

/* The phase of all events from now on: "prefill" or "decode0" ("prefill_last", "decode1", ..., "verify";
   names that begin so). experiment NULL: "E0", the engine's own choice. */
GRETA_TRACE_API int greta_trace_begin(greta_trace trace, const char* phase, const char* prompt,
                                      const char* experiment);

/* Rows of a stage as they lie in most engines: dense, [rows, width]. */
GRETA_TRACE_API int greta_trace_rows(greta_trace trace, const char* stage, int layer, const void* data,
                                     greta_trace_dtype dtype, int64_t rows, int64_t width,
                                     int64_t first_position);

/* Any event. Chunks of a prompt may come one by one; the same rows once more are taken if they are equal. */
GRETA_TRACE_API int greta_trace_stage(greta_trace trace, const greta_trace_event* event);

/* A tensor of an op. Row-major: the contiguous dimension comes last (ggml's ne backwards); the first 0 ends
   the shape. */
typedef struct greta_trace_tensor {
  const char* name; /* by which later ops may name it; or "weight: NAME", a tensor of the model's file */
  const void* data; /* NULL, of an input: recorded before by this name, or a weight */
  greta_trace_dtype dtype;
  int64_t shape[4];
  const int64_t* strides; /* in elements, one for each extent; NULL: dense */
} greta_trace_tensor;

/* One op, its inputs and what it made: judged by these alone, without a model (docs/trace-format.md, "Ops",
   has the ops, the order of their inputs and their attributes). An op of another name is kept, unmeasured. */
typedef struct greta_trace_op_event {
  const char* op;         /* "mul_mat" */
  const char* attributes; /* "eps=1e-6, layout=halves"; NULL: none */
  const greta_trace_tensor* inputs;
  size_t n_inputs;
  greta_trace_tensor output; /* without a name: the op's */
  int layer;                 /* from 0; GRETA_TRACE_NO_LAYER */
  const char* kernel;        /* as greta_trace_kernel names it */
  unsigned flags;            /* GRETA_TRACE_HOST */
} greta_trace_op_event;

#define GRETA_TRACE_NO_LAYER (-1)

/* Any op, in the phase that was begun. Inputs with data are recorded before it, each time. */
GRETA_TRACE_API int greta_trace_op(greta_trace trace, const greta_trace_op_event* event);

/* Ends the bundle. The first error of all calls on this trace, or GRETA_TRACE_OK. */
GRETA_TRACE_API int greta_trace_close(greta_trace trace);

/* What the last failed call of this thread has to say, one line; "" before the first. */
GRETA_TRACE_API const char* greta_trace_error(void);

#ifdef __cplusplus
}
#endif

#endif /* GRETA_TRACE_H */

#ifdef GRETA_TRACE_IMPLEMENTATION
#ifndef GRETA_TRACE_IMPLEMENTED
#define GRETA_TRACE_IMPLEMENTED

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <direct.h>
#include <windows.h>
#else
#include <sys/stat.h>
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "greta_trace.h writes the values as they lie in memory: little-endian machines only"
#endif

#if defined(GRETA_TRACE_LOCK) && defined(GRETA_TRACE_UNLOCK)
#elif defined(_WIN32)
static SRWLOCK gtrace_lock = SRWLOCK_INIT;
#define GRETA_TRACE_LOCK() AcquireSRWLockExclusive(&gtrace_lock)
#define GRETA_TRACE_UNLOCK() ReleaseSRWLockExclusive(&gtrace_lock)
#elif defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
static pthread_mutex_t gtrace_lock = PTHREAD_MUTEX_INITIALIZER;
#define GRETA_TRACE_LOCK() ((void)pthread_mutex_lock(&gtrace_lock))
#define GRETA_TRACE_UNLOCK() ((void)pthread_mutex_unlock(&gtrace_lock))
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L && !defined(__STDC_NO_THREADS__)
#include <threads.h>
static mtx_t gtrace_lock;
static once_flag gtrace_lock_made = ONCE_FLAG_INIT;
static void gtrace_make_lock(void) { (void)mtx_init(&gtrace_lock, mtx_plain); }
#define GRETA_TRACE_LOCK() (call_once(&gtrace_lock_made, gtrace_make_lock), (void)mtx_lock(&gtrace_lock))
#define GRETA_TRACE_UNLOCK() ((void)mtx_unlock(&gtrace_lock))
#else
#error "define GRETA_TRACE_LOCK() and GRETA_TRACE_UNLOCK() (empty: a program of one thread)"
#endif

#if defined(__cplusplus)
#define GTRACE_OF_THREAD thread_local
#elif defined(_MSC_VER)
#define GTRACE_OF_THREAD __declspec(thread)
#elif defined(__GNUC__)
#define GTRACE_OF_THREAD __thread
#else
#define GTRACE_OF_THREAD _Thread_local
#endif

/* ---- Words of the format. Tests hold these tables to GRETA's own. ---- */

typedef struct gtrace_dtype {
  const char *name, *stored; /* in events, in safetensors */
  size_t size;
  uint64_t exponent, mantissa; /* of what may be infinite or no number */
} gtrace_dtype;

static const gtrace_dtype gtrace_dtypes[] = {
    /* in the order of greta_trace_dtype */
    {"f32", "F32", 4, 0x7f800000u, 0x7fffffu},
    {"f64", "F64", 8, 0x7ff0000000000000u, 0xfffffffffffffu},
    {"f16", "F16", 2, 0x7c00u, 0x3ffu},
    {"bf16", "BF16", 2, 0x7f80u, 0x7fu},
    {"i64", "I64", 8, 0, 0},
    {"i32", "I32", 4, 0, 0},
    {"i16", "I16", 2, 0, 0},
    {"i8", "I8", 1, 0, 0},
    {"u8", "U8", 1, 0, 0},
};

static const char gtrace_held[] = "f64 f32 f16 bf16 i64 i32 i16 i8 u8 q8_block32 q8_0 q8_0_stored";
static const char gtrace_layer_stages[] =
    "x_in attn_norm q_a q_a_norm q k v q_norm k_norm v_norm q_rope k_rope q_absorbed q_latent k_latent "
    "kv_write qk softmax pv head_out attn_out attn_post_norm x_attn ffn_norm router expert_probs experts "
    "expert_weights expert_gate expert_up expert_act expert_down experts_out gate up act down shared_gate "
    "shared_out ffn_out ffn_post_norm x_out kv_next kv_before";
static const char gtrace_last_stages[] = "final_norm logits";
static const char gtrace_decode0_rows[] = "zeros|other row|nan|freed";

#define GTRACE_FORMATS "f32 f64 f16 bf16 q8_block32 q8_0 q8_0_stored q8_1 q8_1_sum q8_k i32"

static const struct {
  const char* name;
  char kind; /* w: one of the words; t: text; i: an integer up to `most`; n: a number; b: a flag */
  const char* words;
  long least, most;
} gtrace_kernel_fields[] = {
    {"activation", 'w', GTRACE_FORMATS, 0, 0},
    {"accumulator", 'w', GTRACE_FORMATS, 0, 0},
    {"output", 'w', GTRACE_FORMATS, 0, 0},
    {"between", 'w', GTRACE_FORMATS, 0, 0},
    {"weight", 'w', GTRACE_FORMATS, 0, 0},
    {"unit", 't', "", 0, 0},
    {"splits", 'i', "", 1, 64},
    {"slice", 'i', "", 0, 2147483647},
    {"sum_lanes", 'i', "", 1, 2147483647},
    {"angle_rounding", 'n', "", 0, 0},
    {"angle", 'w', "f32 iterated exact", 0, 0},
    {"fast_math", 'b', "true false", 0, 0},
    {"fused_add", 'b', "true false", 0, 0},
    {"rotation", 'i', "", 0, 1048576},
    {"rotation_of_values", 'i', "", 0, 1048576},
    {"op", 't', "", 0, 0},
    {"route", 'w', "vector matrix", 0, 0},
    {"shape", 'w', "gemm gemv", 0, 0},
    {"weight_type", 't', "", 0, 0},
    {"note", 't', "", 0, 0},
};

/* `word`, of `size` bytes, among those of a list. */
static int gtrace_among(const char* list, char between, const char* word, size_t size) {
  const char* at = list;
  while (size > 0 && *at != 0) {
    size_t length = 0;
    while (at[length] != 0 && at[length] != between) ++length;
    if (length == size && memcmp(at, word, size) == 0) return 1;
    at += length + (at[length] != 0);
  }
  return 0;
}

static int gtrace_starts(const char* text, const char* with) {
  return strncmp(text, with, strlen(with)) == 0;
}

/* ---- Messages ---- */

enum { GTRACE_MESSAGE = 512 };
static GTRACE_OF_THREAD char gtrace_message[GTRACE_MESSAGE];

/* Strangers' words stand in it: one line, nothing that steers a terminal. */
#ifdef __GNUC__
__attribute__((format(printf, 2, 3)))
#endif
static int
gtrace_fail(int code, const char* format, ...) {
  char* at;
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(gtrace_message, sizeof gtrace_message, format, arguments);
  va_end(arguments);
  for (at = gtrace_message; *at != 0; ++at) {
    if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) *at = '?';
  }
  return code;
}

/* ---- Text that grows ---- */

typedef struct gtrace_text {
  char* at;
  size_t size, room;
  int failed;
} gtrace_text;

static void gtrace_put(gtrace_text* text, const char* bytes, size_t size) {
  if (text->failed) return;
  if (text->room - text->size <= size) {
    const size_t room = (text->size + size + 64) * 2;
    char* more = (char*)realloc(text->at, room);
    if (more == NULL) {
      text->failed = 1;
      return;
    }
    text->at = more;
    text->room = room;
  }
  memcpy(text->at + text->size, bytes, size);
  text->size += size;
  text->at[text->size] = 0;
}

static void gtrace_puts(gtrace_text* text, const char* bytes) { gtrace_put(text, bytes, strlen(bytes)); }

static void gtrace_integer(gtrace_text* text, int64_t value) {
  char digits[24];
  char* at = digits + sizeof digits;
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  *--at = 0;
  do *--at = (char)('0' + rest % 10);
  while ((rest /= 10) != 0);
  if (value < 0) *--at = '-';
  gtrace_puts(text, at);
}

/* Bytes of the well-formed UTF-8 character there; 0: it is none. */
static size_t gtrace_utf8(const unsigned char* at) {
  const unsigned char c = at[0];
  const size_t size = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
  size_t i;
  for (i = 1; i < size; ++i) {
    if ((at[i] & 0xc0) != 0x80) return 0; /* also at the end, 0 */
  }
  if ((c == 0xe0 && at[1] < 0xa0) || (c == 0xed && at[1] > 0x9f)) return 0;
  if ((c == 0xf0 && at[1] < 0x90) || (c == 0xf4 && at[1] > 0x8f)) return 0;
  return size;
}

static void gtrace_quote_part(gtrace_text* text, const char* bytes, size_t most) {
  const unsigned char* at = (const unsigned char*)bytes;
  const unsigned char* end = at + most;
  gtrace_put(text, "\"", 1);
  while (at < end && *at != 0) {
    const size_t size = gtrace_utf8(at);
    if (size == 0 || size > (size_t)(end - at)) {
      gtrace_puts(text, "\\ufffd");
      ++at;
      continue;
    }
    if (*at < 0x20 || *at == 0x7f) {
      char escaped[8];
      (void)snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*at);
      gtrace_puts(text, escaped);
    } else {
      if (*at == '"' || *at == '\\') gtrace_put(text, "\\", 1);
      gtrace_put(text, (const char*)at, size);
    }
    at += size;
  }
  gtrace_put(text, "\"", 1);
}

static void gtrace_quote(gtrace_text* text, const char* bytes) {
  gtrace_quote_part(text, bytes, strlen(bytes));
}

/* Of an object that is being written: "key": */
static void gtrace_key(gtrace_text* text, const char* key) {
  if (!text->failed && text->size > 0 && text->at[text->size - 1] != '{') gtrace_puts(text, ",");
  gtrace_puts(text, "\"");
  gtrace_puts(text, key);
  gtrace_puts(text, "\":");
}

static void gtrace_field(gtrace_text* text, const char* key, const char* value) {
  if (value == NULL) return;
  gtrace_key(text, key);
  gtrace_quote(text, value);
}

static void gtrace_count(gtrace_text* text, const char* key, int64_t value) {
  gtrace_key(text, key);
  gtrace_integer(text, value);
}

static void gtrace_flag(gtrace_text* text, const char* key, int value) {
  gtrace_key(text, key);
  gtrace_puts(text, value ? "true" : "false");
}

/* A finite number. The locale's decimal sign, which printf writes, is no JSON. */
static void gtrace_number(gtrace_text* text, const char* key, double value) {
  char digits[64];
  size_t i, size = 0;
  (void)snprintf(digits, sizeof digits, "%.9g", value);
  for (i = 0; digits[i] != 0; ++i) {
    const char c = digits[i];
    const int plain = (c >= '0' && c <= '9') || c == '-' || c == '+' || c == 'e';
    if (plain || size == 0 || digits[size - 1] != '.') digits[size++] = plain ? c : '.';
  }
  gtrace_key(text, key);
  gtrace_put(text, digits, size);
}

static char* gtrace_copy(const char* text) {
  const size_t size = strlen(text) + 1;
  char* copy = (char*)malloc(size);
  if (copy != NULL) memcpy(copy, text, size);
  return copy;
}

/* ---- Open traces. All of this is touched under the lock only. ---- */

/* A prompt, an experiment, a kernel: as the manifest has it. */
typedef struct gtrace_named {
  struct gtrace_named* next;
  char kind;
  char* name;
  gtrace_text json;
  size_t n_tokens;
} gtrace_named;

/* What was recorded of one stage of one phase. */
typedef struct gtrace_place {
  struct gtrace_place* next;
  char *key, *form; /* form: kernel, type and width, which all its events share */
  int64_t* positions;
  uint64_t* hashes; /* of the rows there */
  size_t count, room;
  int64_t largest; /* of the positions */
} gtrace_place;

enum { GTRACE_TRACES = 16, GTRACE_BUCKETS = 1024 };

typedef struct gtrace_trace {
  greta_trace handle; /* 0: free */
  uint32_t opened;    /* how often, to tell a closed trace from its successor */
  char* directory;
  FILE* events;
  gtrace_text head; /* of the manifest */
  gtrace_named *named, **named_end;
  int changed; /* the manifest on the disk is older than what was said */
  char *phase, *prompt, *experiment;
  gtrace_place* places[GTRACE_BUCKETS];
  int64_t n_events, n_files;
  int broken;
  greta_trace_copy copy;
  void* copy_user;
  int first_code;
  char first_message[GTRACE_MESSAGE];
} gtrace_trace;

static gtrace_trace gtrace_traces[GTRACE_TRACES];

static gtrace_trace* gtrace_find(greta_trace trace) {
  gtrace_trace* t = &gtrace_traces[trace % GTRACE_TRACES];
  return trace != 0 && t->handle == trace ? t : NULL;
}

static int gtrace_no_trace(void) {
  return gtrace_fail(GRETA_TRACE_E_CLOSED, "no open trace: it was closed, or greta_trace_open failed");
}

static int gtrace_no_memory(void) { return gtrace_fail(GRETA_TRACE_E_MEMORY, "out of memory"); }

/* The end of every call: the trace remembers its first error. Not under the lock. */
static int gtrace_done(greta_trace trace, int code) {
  gtrace_trace* t;
  if (code == GRETA_TRACE_OK) return code;
  GRETA_TRACE_LOCK();
  t = gtrace_find(trace);
  if (t != NULL && t->first_code == GRETA_TRACE_OK) {
    t->first_code = code;
    memcpy(t->first_message, gtrace_message, sizeof gtrace_message);
  }
  GRETA_TRACE_UNLOCK();
  return code;
}

/* ---- Files ---- */

static char* gtrace_path(const char* directory, const char* name, const char* suffix) {
  gtrace_text path = {NULL, 0, 0, 0};
  gtrace_puts(&path, directory);
  gtrace_puts(&path, "/");
  gtrace_puts(&path, name);
  gtrace_puts(&path, suffix);
  if (!path.failed) return path.at;
  free(path.at);
  return NULL;
}

static int gtrace_make_directory(const char* path) {
#ifdef _WIN32
  return _mkdir(path);
#else
  return mkdir(path, 0777);
#endif
}

static int gtrace_rename(const char* from, const char* to) {
#ifdef _WIN32
  return MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING) ? 0 : -1;
#else
  return rename(from, to);
#endif
}

static int gtrace_exists(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file != NULL) fclose(file);
  return file != NULL;
}

static int gtrace_cannot(const gtrace_trace* t, const char* name) {
  return gtrace_fail(GRETA_TRACE_E_IO, "cannot write %.200s/%s: %s; the bundle is readable up to event %ld",
                     t->directory, name, strerror(errno), (long)t->n_events);
}

/* A whole file, under its name when it is whole. After a failure the trace takes nothing more. */
static int gtrace_write(gtrace_trace* t, const char* name, const gtrace_text* head, const char* data,
                        size_t size) {
  char* part = gtrace_path(t->directory, name, ".tmp");
  char* path = gtrace_path(t->directory, name, "");
  int code = GRETA_TRACE_OK;
  if (part == NULL || path == NULL || head->failed) {
    code = gtrace_no_memory();
  } else {
    FILE* file = fopen(part, "wb");
    int written = file != NULL && fwrite(head->at, 1, head->size, file) == head->size &&
                  (size == 0 || fwrite(data, 1, size, file) == size) && fflush(file) == 0;
    const int error = errno;
    if (file != NULL && fclose(file) != 0) written = 0;
    if (!written) errno = error;
    if (!written || gtrace_rename(part, path) != 0) {
      code = gtrace_cannot(t, name);
      t->broken = 1;
      if (file != NULL) remove(part);
    }
  }
  free(part);
  free(path);
  return code;
}

/* One line, the end of its event: on its way to the disk when this returns. */
static int gtrace_append(gtrace_trace* t, const gtrace_text* line) {
  if (fwrite(line->at, 1, line->size, t->events) != line->size || fflush(t->events) != 0) {
    t->broken = 1;
    return gtrace_cannot(t, "events.jsonl");
  }
  ++t->n_events;
  return GRETA_TRACE_OK;
}

static int gtrace_write_manifest(gtrace_trace* t, int complete) {
  static const struct {
    char kind;
    const char *open, *close;
  } lists[] = {
      {'p', ",\n\"prompts\":[", "]"}, {'e', ",\n\"experiments\":[", "]"}, {'k', ",\n\"kernels\":{", "}"}};
  gtrace_text text = {NULL, 0, 0, 0};
  size_t i;
  int code;
  gtrace_put(&text, t->head.at, t->head.size);
  for (i = 0; i < sizeof lists / sizeof lists[0]; ++i) {
    const gtrace_named* one;
    int n = 0;
    for (one = t->named; one != NULL; one = one->next) {
      if (one->kind != lists[i].kind) continue;
      gtrace_puts(&text, n++ == 0 ? lists[i].open : ",\n");
      gtrace_put(&text, one->json.at, one->json.size);
    }
    if (n > 0) gtrace_puts(&text, lists[i].close);
  }
  gtrace_puts(&text, complete ? ",\n\"complete\":true}\n" : ",\n\"complete\":false}\n");
  code = gtrace_write(t, "manifest.json", &text, NULL, 0);
  free(text.at);
  if (code == GRETA_TRACE_OK) t->changed = 0;
  return code;
}

static int gtrace_is_broken(void) {
  return gtrace_fail(GRETA_TRACE_E_IO, "nothing more is recorded: a write failed before");
}

/* ---- Open and close ---- */

static void gtrace_clear(gtrace_trace* t) {
  const uint32_t opened = t->opened;
  size_t i;
  while (t->named != NULL) {
    gtrace_named* one = t->named;
    t->named = one->next;
    free(one->name);
    free(one->json.at);
    free(one);
  }
  for (i = 0; i < GTRACE_BUCKETS; ++i) {
    while (t->places[i] != NULL) {
      gtrace_place* place = t->places[i];
      t->places[i] = place->next;
      free(place->key);
      free(place->form);
      free(place->positions);
      free(place->hashes);
      free(place);
    }
  }
  if (t->events != NULL) fclose(t->events);
  free(t->directory);
  free(t->head.at);
  free(t->phase);
  free(t->prompt);
  free(t->experiment);
  memset(t, 0, sizeof *t);
  t->opened = opened;
}

static void gtrace_write_head(gtrace_text* head, const greta_trace_meta* meta) {
  gtrace_puts(head, "{");
  gtrace_field(head, "schema", "greta.trace/1");
  gtrace_field(head, "engine", meta->engine);
  gtrace_field(head, "version", meta->version);
  gtrace_field(head, "device", meta->device);
  gtrace_field(head, "isa", meta->isa);
  gtrace_field(head, "kv_format", meta->kv_format);
  gtrace_field(head, "decode0_row", meta->decode0_row);
  if (meta->threads > 0) gtrace_count(head, "threads", meta->threads);
  gtrace_flag(head, "aligned", !meta->unaligned);
  gtrace_flag(head, "shared_cache", meta->shared_cache);
  if (meta->model_file != NULL || meta->model_hash != NULL || meta->model_name != NULL) {
    gtrace_key(head, "model");
    gtrace_puts(head, "{");
    gtrace_field(head, "file", meta->model_file);
    gtrace_field(head, "hash", meta->model_hash);
    gtrace_field(head, "name", meta->model_name);
    gtrace_puts(head, "}");
  }
}

static int gtrace_is_hash(const char* hash) {
  const size_t digits = gtrace_starts(hash, "sha256:") ? 64 : gtrace_starts(hash, "xxh3-128:") ? 32 : 0;
  const char* at = strchr(hash, ':');
  return digits != 0 && strlen(at + 1) == digits && strspn(at + 1, "0123456789abcdef") == digits;
}

static int gtrace_check_meta(const char* directory, const greta_trace_meta* meta) {
  if (directory == NULL || *directory == 0)
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "the directory has no name");
  if (meta == NULL || meta->engine == NULL || *meta->engine == 0)
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "meta.engine is missing: the name of your engine");
  if (meta->decode0_row != NULL &&
      !gtrace_among(gtrace_decode0_rows, '|', meta->decode0_row, strlen(meta->decode0_row)))
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "meta.decode0_row is \"%.40s\"; known are %s",
                       meta->decode0_row, gtrace_decode0_rows);
  if (meta->model_hash != NULL && !gtrace_is_hash(meta->model_hash))
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT,
                       "meta.model_hash is \"%.100s\"; it is sha256: and 64 lower-case hex digits",
                       meta->model_hash);
  return GRETA_TRACE_OK;
}

/* The directory and the first manifest; what is there already is not touched. */
static int gtrace_begin_bundle(gtrace_trace* t) {
  char* manifest = gtrace_path(t->directory, "manifest.json", "");
  char* events = gtrace_path(t->directory, "events.jsonl", "");
  int code = GRETA_TRACE_OK;
  if (manifest == NULL || events == NULL) {
    code = gtrace_no_memory();
  } else if (gtrace_make_directory(t->directory) != 0 && errno != EEXIST) {
    code =
        gtrace_fail(GRETA_TRACE_E_IO, "cannot make the directory %.300s: %s", t->directory, strerror(errno));
  } else if (gtrace_exists(manifest) || gtrace_exists(events)) {
    code = gtrace_fail(GRETA_TRACE_E_IO,
                       "%.300s holds a bundle already: choose another directory or remove it", t->directory);
  } else {
    code = gtrace_write_manifest(t, 0);
    if (code == GRETA_TRACE_OK && (t->events = fopen(events, "wb")) == NULL)
      code = gtrace_cannot(t, "events.jsonl");
  }
  free(manifest);
  free(events);
  return code;
}

GRETA_TRACE_API greta_trace greta_trace_open(const char* directory, const greta_trace_meta* meta) {
  greta_trace handle = 0;
  uint32_t i = 0;
  gtrace_trace* t;
  if (gtrace_check_meta(directory, meta) != GRETA_TRACE_OK) return 0;
  GRETA_TRACE_LOCK();
  while (i < GTRACE_TRACES && gtrace_traces[i].handle != 0) ++i;
  if (i == GTRACE_TRACES) {
    (void)gtrace_fail(GRETA_TRACE_E_MEMORY, "%d traces are open already", (int)GTRACE_TRACES);
  } else {
    t = &gtrace_traces[i];
    t->opened = t->opened % 0xfffffffu + 1;
    t->named_end = &t->named;
    t->copy = meta->copy;
    t->copy_user = meta->copy_user;
    t->directory = gtrace_copy(directory);
    gtrace_write_head(&t->head, meta);
    if (t->directory == NULL || t->head.failed) {
      (void)gtrace_no_memory();
    } else if (gtrace_begin_bundle(t) == GRETA_TRACE_OK) {
      handle = t->handle = t->opened * GTRACE_TRACES + i;
    }
    if (handle == 0) gtrace_clear(t);
  }
  GRETA_TRACE_UNLOCK();
  return handle;
}

GRETA_TRACE_API int greta_trace_close(greta_trace trace) {
  int code;
  gtrace_trace* t;
  GRETA_TRACE_LOCK();
  t = gtrace_find(trace);
  if (t == NULL) {
    code = gtrace_no_trace();
  } else {
    code = t->broken ? GRETA_TRACE_OK : gtrace_write_manifest(t, 1);
    if (t->first_code != GRETA_TRACE_OK) {
      code = t->first_code;
      memcpy(gtrace_message, t->first_message, sizeof gtrace_message);
    }
    gtrace_clear(t);
  }
  GRETA_TRACE_UNLOCK();
  return code;
}

GRETA_TRACE_API const char* greta_trace_error(void) { return gtrace_message; }

/* ---- Prompts, experiments, kernels, phases ---- */

/* Takes `json`. The same said again is no error; something else of the same name is one. */
static int gtrace_add_named(greta_trace trace, char kind, const char* name, gtrace_text json,
                            size_t n_tokens) {
  gtrace_named* one = (gtrace_named*)calloc(1, sizeof *one);
  char* copy = gtrace_copy(name);
  const gtrace_named* other;
  gtrace_trace* t;
  int code = GRETA_TRACE_OK, kept = 0;
  if (one == NULL || copy == NULL || json.failed) code = gtrace_no_memory();
  GRETA_TRACE_LOCK();
  t = gtrace_find(trace);
  if (code == GRETA_TRACE_OK && t == NULL) code = gtrace_no_trace();
  for (other = t == NULL ? NULL : t->named; other != NULL && code == GRETA_TRACE_OK; other = other->next) {
    if (other->kind != kind || strcmp(other->name, name) != 0) continue;
    if (other->json.size != json.size || memcmp(other->json.at, json.at, json.size) != 0)
      code = gtrace_fail(GRETA_TRACE_E_TWICE, "\"%.100s\" was said to be something else before", name);
    break;
  }
  if (code == GRETA_TRACE_OK && other == NULL) {
    one->kind = kind;
    one->name = copy;
    one->json = json;
    one->n_tokens = n_tokens;
    *t->named_end = one;
    t->named_end = &one->next;
    t->changed = kept = 1;
  }
  GRETA_TRACE_UNLOCK();
  if (!kept) {
    free(one);
    free(copy);
    free(json.at);
  }
  return code;
}

GRETA_TRACE_API int greta_trace_prompt(greta_trace trace, const char* id, const char* text,
                                       const int32_t* tokens, size_t n_tokens) {
  gtrace_text json = {NULL, 0, 0, 0};
  size_t i;
  if (id == NULL || *id == 0)
    return gtrace_done(trace, gtrace_fail(GRETA_TRACE_E_ARGUMENT, "a prompt needs an id"));
  if (tokens == NULL) n_tokens = 0;
  for (i = 0; i < n_tokens; ++i) {
    if (tokens[i] < 0)
      return gtrace_done(trace,
                         gtrace_fail(GRETA_TRACE_E_ARGUMENT, "token %lu of prompt \"%.60s\" is negative",
                                     (unsigned long)i, id));
  }
  gtrace_puts(&json, "{");
  gtrace_field(&json, "id", id);
  gtrace_field(&json, "text", text);
  for (i = 0; i < n_tokens; ++i) {
    gtrace_puts(&json, i == 0 ? ",\"tokens\":[" : ",");
    gtrace_integer(&json, tokens[i]);
  }
  gtrace_puts(&json, n_tokens > 0 ? "]}" : "}");
  return gtrace_done(trace, gtrace_add_named(trace, 'p', id, json, n_tokens));
}

GRETA_TRACE_API int greta_trace_experiment(greta_trace trace, const char* name, const char* force_route,
                                           int force_gemm) {
  gtrace_text json = {NULL, 0, 0, 0};
  const char* route = force_route == NULL ? "auto" : force_route;
  if (name == NULL || *name == 0)
    return gtrace_done(trace, gtrace_fail(GRETA_TRACE_E_ARGUMENT, "an experiment needs a name"));
  if (!gtrace_among("auto vector matrix", ' ', route, strlen(route)))
    return gtrace_done(
        trace, gtrace_fail(GRETA_TRACE_E_ARGUMENT, "route \"%.40s\"; known are auto, vector, matrix", route));
  gtrace_puts(&json, "{");
  gtrace_field(&json, "name", name);
  gtrace_field(&json, "force_route", route);
  gtrace_flag(&json, "force_gemm", force_gemm);
  gtrace_puts(&json, "}");
  return gtrace_done(trace, gtrace_add_named(trace, 'e', name, json, 0));
}

/* A number of JSON, 0 or more: 12, 0.5, 3e-7 */
static int gtrace_is_number(const char* at, size_t size) {
  const char* end = at + size;
  const char* digits = at;
  while (at < end && *at >= '0' && *at <= '9') ++at;
  if (at == digits || (*digits == '0' && at - digits > 1)) return 0;
  if (at < end && *at == '.') {
    digits = ++at;
    while (at < end && *at >= '0' && *at <= '9') ++at;
    if (at == digits) return 0;
  }
  if (at < end && (*at == 'e' || *at == 'E')) {
    ++at;
    if (at < end && (*at == '-' || *at == '+')) ++at;
    digits = at;
    while (at < end && *at >= '0' && *at <= '9') ++at;
    if (at == digits || at - digits > 2) return 0;
  }
  return at == end;
}

/* One "field=value" of a kernel's declaration. */
static int gtrace_declare(gtrace_text* json, const char* name, const char* field, size_t size) {
  const char* equals = (const char*)memchr(field, '=', size);
  const size_t key = equals == NULL ? size : (size_t)(equals - field);
  const char* value = equals == NULL ? field + size : equals + 1;
  const size_t length = size - key - (equals != NULL);
  size_t i, n = sizeof gtrace_kernel_fields / sizeof gtrace_kernel_fields[0];
  int fits, quoted;
  char kind;
  for (i = 0; i < n; ++i) {
    const char* known = gtrace_kernel_fields[i].name;
    if (strlen(known) == key && memcmp(known, field, key) == 0) break;
  }
  if (i == n)
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "kernel \"%.60s\" declares \"%.*s\", which is no field", name,
                       (int)(key < 40 ? key : 40), field);
  kind = gtrace_kernel_fields[i].kind;
  quoted = kind == 't' || kind == 'w';
  fits = kind == 't' ? length > 0 : kind == 'n' ? gtrace_is_number(value, length) : 1;
  if (kind == 'w' || kind == 'b') fits = gtrace_among(gtrace_kernel_fields[i].words, ' ', value, length);
  if (kind == 'i') {
    const long number = length > 0 && length < 11 ? strtol(value, NULL, 10) : -1;
    fits = gtrace_is_number(value, length) && memchr(value, '.', length) == NULL &&
           memchr(value, 'e', length) == NULL && memchr(value, 'E', length) == NULL &&
           number >= gtrace_kernel_fields[i].least && number <= gtrace_kernel_fields[i].most;
  }
  if (!fits)
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "kernel \"%.60s\" declares %s as \"%.*s\"%s%s", name,
                       gtrace_kernel_fields[i].name, (int)(length < 40 ? length : 40), value,
                       gtrace_kernel_fields[i].words[0] != 0 ? "; known are " : ", which it can't be",
                       gtrace_kernel_fields[i].words);
  gtrace_key(json, gtrace_kernel_fields[i].name);
  if (quoted)
    gtrace_quote_part(json, value, length);
  else
    gtrace_put(json, value, length);
  return GRETA_TRACE_OK;
}

GRETA_TRACE_API int greta_trace_kernel(greta_trace trace, const char* name, const char* declared) {
  gtrace_text json = {NULL, 0, 0, 0};
  const char* at = declared;
  int code = GRETA_TRACE_OK;
  if (name == NULL || *name == 0 || declared == NULL)
    return gtrace_done(trace,
                       gtrace_fail(GRETA_TRACE_E_ARGUMENT, "a kernel needs a name and what it declares"));
  gtrace_quote(&json, name);
  gtrace_puts(&json, ":{");
  while (code == GRETA_TRACE_OK && !json.failed && at != NULL) {
    const char* comma = strchr(at, ',');
    size_t size = comma == NULL ? strlen(at) : (size_t)(comma - at);
    while (size > 0 && *at == ' ') ++at, --size;
    while (size > 0 && at[size - 1] == ' ') --size;
    if (size > 0) code = gtrace_declare(&json, name, at, size);
    at = comma == NULL ? NULL : comma + 1;
  }
  gtrace_puts(&json, "}");
  if (code != GRETA_TRACE_OK) {
    free(json.at);
    return gtrace_done(trace, code);
  }
  return gtrace_done(trace, gtrace_add_named(trace, 'k', name, json, 0));
}

static int gtrace_check_phase(const char* phase) {
  if (phase != NULL &&
      (gtrace_starts(phase, "prefill") || gtrace_starts(phase, "decode") || gtrace_starts(phase, "verify")))
    return GRETA_TRACE_OK;
  return gtrace_fail(GRETA_TRACE_E_PHASE,
                     "phase \"%.60s\"; it is prefill, prefill_last, decode0, decode1, ..., verify",
                     phase == NULL ? "" : phase);
}

GRETA_TRACE_API int greta_trace_begin(greta_trace trace, const char* phase, const char* prompt,
                                      const char* experiment) {
  char *texts[3] = {NULL, NULL, NULL}, *old[3] = {NULL, NULL, NULL};
  gtrace_trace* t;
  int i, code = gtrace_check_phase(phase);
  if (code == GRETA_TRACE_OK && (prompt == NULL || *prompt == 0))
    code = gtrace_fail(GRETA_TRACE_E_ARGUMENT, "phase %.40s needs its prompt's id", phase);
  if (code != GRETA_TRACE_OK) return gtrace_done(trace, code);
  texts[0] = gtrace_copy(phase);
  texts[1] = gtrace_copy(prompt);
  texts[2] = gtrace_copy(experiment == NULL || *experiment == 0 ? "E0" : experiment);
  GRETA_TRACE_LOCK();
  t = gtrace_find(trace);
  if (t == NULL) {
    code = gtrace_no_trace();
  } else if (texts[0] == NULL || texts[1] == NULL || texts[2] == NULL) {
    code = gtrace_no_memory();
  } else {
    old[0] = t->phase, old[1] = t->prompt, old[2] = t->experiment;
    t->phase = texts[0], t->prompt = texts[1], t->experiment = texts[2];
  }
  GRETA_TRACE_UNLOCK();
  for (i = 0; i < 3; ++i) free(code == GRETA_TRACE_OK ? old[i] : texts[i]);
  return gtrace_done(trace, code);
}

/* ---- Events ---- */

/* Rows of a stage: what the event says, checked, and the values, dense. */
typedef struct gtrace_rows {
  const greta_trace_event* event;
  const gtrace_dtype* dtype;
  int layer, rank, by_head;
  int is_tensor;        /* of an op: any shape, as it is */
  int64_t count, width; /* rows, values in one */
  char* data;
  uint64_t* hashes; /* of each row */
} gtrace_rows;

/* Whose they are. */
typedef struct gtrace_where {
  char *phase, *prompt, *experiment;
} gtrace_where;

static const int64_t gtrace_most = (int64_t)1 << 48; /* of whatever is counted */

static int gtrace_bad(int code, const greta_trace_event* event, const char* why) {
  return gtrace_fail(code, "stage %.40s, layer %d: %s", event->stage, event->layer, why);
}

static int gtrace_check_stage(gtrace_rows* rows) {
  const greta_trace_event* e = rows->event;
  const size_t size = strlen(e->stage);
  const int is_last = gtrace_among(gtrace_last_stages, ' ', e->stage, size);
  const int is_known = is_last || gtrace_among(gtrace_layer_stages, ' ', e->stage, size);
  const int is_qk = strcmp(e->stage, "qk") == 0;
  rows->layer = is_last && !rows->is_tensor ? -1 : e->layer;
  if (rows->is_tensor)
    return rows->layer >= -1 && rows->layer <= 1000000
               ? GRETA_TRACE_OK
               : gtrace_bad(GRETA_TRACE_E_STAGE, e, "layers count from 0");
  rows->by_head = is_qk || strcmp(e->stage, "softmax") == 0;
  if (!is_known && !(e->flags & GRETA_TRACE_UNJUDGED))
    return gtrace_fail(
        GRETA_TRACE_E_STAGE,
        "no stage is called \"%.40s\" (GRETA_TRACE_UNJUDGED takes it all the same); known are %s %s",
        e->stage, gtrace_layer_stages, gtrace_last_stages);
  if (rows->layer < (is_known && !is_last ? 0 : -1) || rows->layer > 1000000)
    return gtrace_bad(GRETA_TRACE_E_STAGE, e, "layers count from 0");
  if ((e->flags & (GRETA_TRACE_UNSCALED | GRETA_TRACE_UNMASKED)) != 0 && !is_qk)
    return gtrace_bad(GRETA_TRACE_E_STAGE, e, "unscaled and unmasked are said of qk");
  if (e->values != NULL && is_known && strncmp(e->stage, "kv_", 3) != 0)
    return gtrace_bad(GRETA_TRACE_E_STAGE, e, "keys and values together are kv_write");
  return GRETA_TRACE_OK;
}

static int gtrace_check_shape(gtrace_rows* rows) {
  const greta_trace_event* e = rows->event;
  int64_t all = e->values == NULL ? 1 : 2, i;
  int d;
  for (d = 0; d < 4 && e->shape[d] != 0; ++d) {
    if (e->shape[d] < 0 || e->shape[d] > gtrace_most / all)
      return gtrace_bad(GRETA_TRACE_E_SHAPE, e, "an extent is negative, or the shape is too large");
    all *= e->shape[d];
  }
  rows->rank = d;
  if (d < (rows->is_tensor ? 1 : 2))
    return gtrace_bad(GRETA_TRACE_E_SHAPE, e, "the shape needs rows and a width, none of them 0");
  if (rows->by_head && d != 3)
    return gtrace_bad(GRETA_TRACE_E_SHAPE, e, "its shape is {rows, heads, positions}");
  rows->count = e->shape[0];
  rows->width = all / rows->count;
  if ((uint64_t)all > (size_t)-1 / rows->dtype->size)
    return gtrace_bad(GRETA_TRACE_E_SHAPE, e, "more values than memory can hold");
  if (e->positions == NULL && (e->position < 0 || e->position > gtrace_most - rows->count))
    return gtrace_bad(GRETA_TRACE_E_SHAPE, e, "positions count from 0");
  for (i = 0; e->positions != NULL && i < rows->count; ++i) {
    if (e->positions[i] < 0 || e->positions[i] > gtrace_most ||
        (i > 0 && e->positions[i] <= e->positions[i - 1]))
      return gtrace_bad(GRETA_TRACE_E_SHAPE, e, "positions must increase, from 0 on");
  }
  if (e->positions != NULL && rows->count == 2 && e->positions[1] != e->positions[0] + 1)
    return gtrace_bad(GRETA_TRACE_E_SHAPE, e,
                      "two positions are read as first and last: record one row, or three");
  return GRETA_TRACE_OK;
}

static int gtrace_check_event(gtrace_rows* rows) {
  const greta_trace_event* e = rows->event;
  int code;
  if (e == NULL || e->stage == NULL || *e->stage == 0)
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "an event needs the name of its stage");
  if (e->data == NULL) return gtrace_bad(GRETA_TRACE_E_ARGUMENT, e, "data is NULL");
  if ((unsigned)e->dtype >= sizeof gtrace_dtypes / sizeof gtrace_dtypes[0])
    return gtrace_bad(GRETA_TRACE_E_ARGUMENT, e, "dtype is none of greta_trace_dtype");
  rows->dtype = &gtrace_dtypes[e->dtype];
  if (e->held_as != NULL && !gtrace_among(gtrace_held, ' ', e->held_as, strlen(e->held_as)))
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "held_as is \"%.40s\"; known are %s", e->held_as, gtrace_held);
  if (e->route != NULL && *e->route != 0 && !gtrace_among("vector matrix", ' ', e->route, strlen(e->route)))
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "route is \"%.40s\"; known are vector, matrix", e->route);
  if (e->launches > (uint64_t)INT64_MAX)
    return gtrace_bad(GRETA_TRACE_E_ARGUMENT, e, "launches is out of range");
  if (e->phase != NULL && (code = gtrace_check_phase(e->phase)) != GRETA_TRACE_OK) return code;
  code = gtrace_check_stage(rows);
  return code != GRETA_TRACE_OK ? code : gtrace_check_shape(rows);
}

/* How the engine's memory is read. */
typedef struct gtrace_source {
  greta_trace_copy copy;
  void* user;
} gtrace_source;

static int gtrace_fetch(const gtrace_source* source, void* to, const char* from, size_t size) {
  if (source->copy != NULL) return source->copy(source->user, to, from, size) == 0;
  memcpy(to, from, size);
  return 1;
}

/* A tensor of the event's shape into columns [column, ...) of the rows. Of another memory, what lies close
   together is copied at once and ordered here. */
static int gtrace_gather(gtrace_rows* rows, gtrace_source source, const char* from, const int64_t* strides,
                         int64_t column) {
  const int64_t* shape = rows->event->shape;
  const int64_t size = (int64_t)rows->dtype->size;
  int64_t dense[4], all = 1, extent = 1, run = 1, runs, in_row, n;
  int d;
  char* near = NULL;
  for (d = rows->rank - 1; d >= 0; --d) {
    dense[d] = all;
    all *= shape[d];
  }
  if (strides == NULL) strides = dense;
  for (d = 0; d < rows->rank; ++d) {
    if (strides[d] < 0 || strides[d] > (gtrace_most - extent) / shape[d])
      return gtrace_bad(GRETA_TRACE_E_SHAPE, rows->event, "a stride is negative or too large");
    extent += (shape[d] - 1) * strides[d];
  }
  for (d = rows->rank - 1; d > 0 && strides[d] == run; --d) run *= shape[d];
  runs = all / run;
  in_row = runs / rows->count;
  if (source.copy != NULL && extent / 4 <= all) {
    near = (char*)malloc((size_t)(extent * size));
    if (near == NULL) return gtrace_no_memory();
    if (!gtrace_fetch(&source, near, from, (size_t)(extent * size))) {
      free(near);
      return gtrace_bad(GRETA_TRACE_E_COPY, rows->event, "the copy function failed");
    }
    source.copy = NULL;
    from = near;
  }
  for (n = 0; n < runs; ++n) {
    int64_t rest = n, offset = 0, at;
    int i;
    for (i = d; i >= 0; --i) {
      offset += rest % shape[i] * strides[i];
      rest /= shape[i];
    }
    at = n / in_row * rows->width + column + n % in_row * run;
    if (!gtrace_fetch(&source, rows->data + at * size, from + offset * size, (size_t)(run * size)))
      return gtrace_bad(GRETA_TRACE_E_COPY, rows->event, "the copy function failed");
  }
  free(near);
  return GRETA_TRACE_OK;
}

static uint64_t gtrace_hash(const char* data, size_t size) {
  uint64_t hash = 0xcbf29ce484222325u, word;
  for (; size > 0; data += sizeof word) {
    const size_t part = size < sizeof word ? size : sizeof word;
    word = 0;
    memcpy(&word, data, part);
    size -= part;
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return hash;
}

static int gtrace_read(gtrace_rows* rows, gtrace_source source) {
  const size_t row = (size_t)rows->width * rows->dtype->size;
  int64_t i;
  int code;
  rows->data = (char*)malloc((size_t)rows->count * row);
  rows->hashes = (uint64_t*)malloc((size_t)rows->count * sizeof *rows->hashes);
  if (rows->data == NULL || rows->hashes == NULL) return gtrace_no_memory();
  code = gtrace_gather(rows, source, (const char*)rows->event->data, rows->event->strides, 0);
  if (code == GRETA_TRACE_OK && rows->event->values != NULL)
    code = gtrace_gather(rows, source, (const char*)rows->event->values, rows->event->value_strides,
                         rows->width / 2);
  for (i = 0; i < rows->count && code == GRETA_TRACE_OK; ++i)
    rows->hashes[i] = gtrace_hash(rows->data + (size_t)i * row, row);
  return code;
}

static int64_t gtrace_position(const gtrace_rows* rows, int64_t row) {
  return rows->event->positions == NULL ? rows->event->position + row : rows->event->positions[row];
}

/* ---- Statistics, of the finite values ---- */

static double gtrace_value(const gtrace_dtype* dtype, const char* at, uint64_t* bits) {
  uint32_t word;
  float f;
  double d;
  *bits = 0;
  memcpy(bits, at, dtype->size);
  switch (dtype - gtrace_dtypes) {
    case GRETA_TRACE_F64: memcpy(&d, at, sizeof d); return d;
    case GRETA_TRACE_I64: return (double)(int64_t)*bits;
    case GRETA_TRACE_I32: return (double)(int32_t)*bits;
    case GRETA_TRACE_I16: return (double)(int16_t)*bits;
    case GRETA_TRACE_I8: return (double)(int8_t)*bits;
    case GRETA_TRACE_U8: return (double)*bits;
    case GRETA_TRACE_F16: word = (uint32_t)((*bits & 0x8000u) << 16 | (*bits & 0x7fffu) << 13); break;
    case GRETA_TRACE_BF16: word = (uint32_t)(*bits << 16); break;
    default: word = (uint32_t)*bits;
  }
  memcpy(&f, &word, sizeof f);
  return dtype == &gtrace_dtypes[GRETA_TRACE_F16] ? (double)f * 5192296858534827628530496329220096.0
                                                  : (double)f;
}

static double gtrace_root(double x) { /* libm need not be linked */
  double root = x > 1 ? x : 1, next = root;
  int i;
  for (i = 0; i < 2000 && x > 0; ++i) {
    next = 0.5 * (root + x / root);
    if (!(next < root)) break;
    root = next;
  }
  return x > 0 ? root : 0;
}

static void gtrace_statistics(gtrace_text* text, const gtrace_rows* rows, int64_t first, int64_t n) {
  const gtrace_dtype* dtype = rows->dtype;
  const char* at = rows->data + (size_t)(first * rows->width) * dtype->size;
  const int64_t count = n * rows->width;
  double least = 0, most = 0, sum = 0, squares = 0;
  int64_t i, finite = 0, nan = 0, inf = 0;
  for (i = 0; i < count; ++i, at += dtype->size) {
    uint64_t bits;
    const double value = gtrace_value(dtype, at, &bits);
    if (dtype->exponent != 0 && (bits & dtype->exponent) == dtype->exponent) {
      if ((bits & dtype->mantissa) != 0)
        ++nan;
      else
        ++inf;
      continue;
    }
    if (finite == 0 || value < least) least = value;
    if (finite == 0 || value > most) most = value;
    sum += value;
    squares += value * value;
    ++finite;
  }
  if (finite == 0) finite = 1;
  if (sum > 1e300 || sum < -1e300 || squares > 1e300)
    sum = squares = 0; /* f64 alone: the reader makes them again */
  gtrace_number(text, "min", least);
  gtrace_number(text, "max", most);
  gtrace_number(text, "mean", sum / (double)finite);
  gtrace_number(text, "rms", gtrace_root(squares / (double)finite));
  gtrace_count(text, "nan", nan);
  gtrace_count(text, "inf", inf);
}

/* ---- Writing ---- */

static void gtrace_write_shape(gtrace_text* text, const gtrace_rows* rows, int64_t n) {
  int d;
  gtrace_puts(text, "[");
  if (rows->is_tensor) {
    for (d = 0; d < rows->rank; ++d) {
      if (d > 0) gtrace_puts(text, ",");
      gtrace_integer(text, rows->event->shape[d]);
    }
    gtrace_puts(text, "]");
    return;
  }
  gtrace_integer(text, n);
  gtrace_puts(text, ",");
  gtrace_integer(text, rows->by_head ? rows->event->shape[1] : rows->width);
  if (rows->by_head) gtrace_puts(text, ",");
  if (rows->by_head) gtrace_integer(text, rows->event->shape[2]);
  gtrace_puts(text, "]");
}

/* "E0/hello/prefill/L0.q", for people who list the file: plain characters only. */
static void gtrace_tensor_key(gtrace_text* key, const gtrace_where* where, const char* phase,
                              const gtrace_rows* rows) {
  size_t i;
  const char* parts[3];
  parts[0] = where->experiment, parts[1] = where->prompt, parts[2] = phase;
  for (i = 0; i < 3; ++i) {
    gtrace_puts(key, parts[i]);
    gtrace_puts(key, "/");
  }
  if (rows->layer >= 0) {
    gtrace_puts(key, "L");
    gtrace_integer(key, rows->layer);
    gtrace_puts(key, ".");
  }
  gtrace_puts(key, rows->event->stage);
  for (i = 0; i < key->size; ++i) {
    if ((unsigned char)key->at[i] < 0x20 || (unsigned char)key->at[i] >= 0x7f) key->at[i] = '?';
  }
}

/* The same, exact: what two events must share to be of one place. */
static void gtrace_place_key(gtrace_text* key, const gtrace_where* where, const char* phase,
                             const gtrace_rows* rows) {
  gtrace_quote(key, where->experiment);
  gtrace_quote(key, where->prompt);
  gtrace_quote(key, phase);
  gtrace_integer(key, rows->layer);
  gtrace_quote(key, rows->event->stage);
}

/* What all events of one stage of one phase must share, for they are joined by position. */
static void gtrace_form(gtrace_text* form, const gtrace_rows* rows) {
  const greta_trace_event* e = rows->event;
  gtrace_puts(form, e->held_as != NULL ? e->held_as : rows->dtype->name);
  gtrace_count(form, rows->dtype->stored,
               (int64_t)(e->flags & (GRETA_TRACE_UNSCALED | GRETA_TRACE_UNMASKED)));
  gtrace_count(form, "width", rows->by_head ? e->shape[1] : rows->width); /* scores may get wider */
  gtrace_field(form, "kernel", e->kernel != NULL ? e->kernel : "");
}

static gtrace_place* gtrace_place_of(gtrace_trace* t, const char* key) {
  gtrace_place** bucket = &t->places[gtrace_hash(key, strlen(key)) % GTRACE_BUCKETS];
  gtrace_place* place = *bucket;
  while (place != NULL && strcmp(place->key, key) != 0) place = place->next;
  if (place != NULL) return place;
  place = (gtrace_place*)calloc(1, sizeof *place);
  if (place == NULL || (place->key = gtrace_copy(key)) == NULL) {
    free(place);
    return NULL;
  }
  place->next = *bucket;
  *bucket = place;
  return place;
}

/* Room for n more rows of that form. */
static int gtrace_reserve(gtrace_place* place, const char* form, int64_t n) {
  const size_t room = place->count + (size_t)n;
  if (place->count == 0) {
    free(place->form);
    place->form = gtrace_copy(form);
  }
  if (place->form == NULL) return 0;
  if (room > place->room) {
    int64_t* positions = (int64_t*)realloc(place->positions, 2 * room * sizeof *positions);
    uint64_t* hashes;
    if (positions == NULL) return 0;
    place->positions = positions;
    hashes = (uint64_t*)realloc(place->hashes, 2 * room * sizeof *hashes);
    if (hashes == NULL) return 0;
    place->hashes = hashes;
    place->room = 2 * room;
  }
  return 1;
}

/* How many of the rows [first, first + n) are there already. An error where they are others. */
static int gtrace_seen(const gtrace_place* place, const gtrace_rows* rows, int64_t first, int64_t n,
                       int64_t* seen) {
  int64_t i;
  size_t at;
  *seen = 0;
  for (i = first; i < first + n; ++i) {
    const int64_t position = gtrace_position(rows, i);
    if (place->count > 0 && position > place->largest) continue;
    for (at = 0; at < place->count && place->positions[at] != position;) ++at;
    if (at == place->count) continue;
    if (place->hashes[at] != rows->hashes[i])
      return gtrace_bad(GRETA_TRACE_E_TWICE, rows->event,
                        "recorded before at one of these positions, with other values: begin another phase");
    ++*seen;
  }
  return GRETA_TRACE_OK;
}

/* The values of rows [first, first + n), a file of their own. */
static int gtrace_write_values(gtrace_trace* t, const gtrace_text* key, const gtrace_rows* rows,
                               int64_t first, int64_t n, const char* name) {
  const size_t row = (size_t)rows->width * rows->dtype->size;
  gtrace_text head = {NULL, 0, 0, 0};
  uint64_t size;
  int code;
  gtrace_put(&head, "\0\0\0\0\0\0\0\0{", 9); /* the header's size goes there */
  gtrace_quote(&head, key->at);
  gtrace_puts(&head, ":{\"dtype\":\"");
  gtrace_puts(&head, rows->dtype->stored);
  gtrace_puts(&head, "\",\"shape\":");
  gtrace_write_shape(&head, rows, n);
  gtrace_puts(&head, ",\"data_offsets\":[0,");
  gtrace_integer(&head, (int64_t)((size_t)n * row));
  gtrace_puts(&head, "]}}");
  while (head.size % 8 != 0 && !head.failed) gtrace_puts(&head, " ");
  size = head.size - 8;
  if (!head.failed) memcpy(head.at, &size, sizeof size);
  code = gtrace_write(t, name, &head, rows->data + (size_t)first * row, (size_t)n * row);
  free(head.at);
  return code;
}

static void gtrace_event_line(gtrace_text* line, const gtrace_where* where, const char* phase,
                              const gtrace_rows* rows, int64_t first, int64_t n) {
  const greta_trace_event* e = rows->event;
  const int64_t from = gtrace_position(rows, first), to = gtrace_position(rows, first + n - 1);
  gtrace_text cell = {NULL, 0, 0, 0};
  int64_t i;
  gtrace_puts(&cell, where->experiment);
  gtrace_puts(&cell, "/");
  gtrace_puts(&cell, where->prompt);
  if (cell.failed) line->failed = 1;
  gtrace_puts(line, "{");
  gtrace_field(line, "cell", cell.at);
  free(cell.at);
  gtrace_field(line, "experiment", where->experiment);
  gtrace_field(line, "prompt_id", where->prompt);
  gtrace_field(line, "phase", phase);
  gtrace_count(line, "layer", rows->layer);
  if (!rows->is_tensor) gtrace_field(line, "stage", e->stage);
  gtrace_puts(line, ",\"positions\":[");
  gtrace_integer(line, from);
  for (i = first + 1; to - from != n - 1 && i < first + n - 1; ++i) {
    gtrace_puts(line, ",");
    gtrace_integer(line, gtrace_position(rows, i));
  }
  gtrace_puts(line, ",");
  gtrace_integer(line, to);
  gtrace_puts(line, "],\"shape\":");
  gtrace_write_shape(line, rows, n);
  gtrace_field(line, "dtype", e->held_as != NULL ? e->held_as : rows->dtype->name);
  gtrace_field(line, "route", e->route != NULL ? e->route : "");
  gtrace_field(line, "kernel", e->kernel != NULL ? e->kernel : "");
  gtrace_count(line, "launches", (int64_t)e->launches);
  if (e->flags & GRETA_TRACE_UNSCALED) gtrace_flag(line, "unscaled", 1);
  if (e->flags & GRETA_TRACE_UNMASKED) gtrace_flag(line, "unmasked", 1);
  gtrace_statistics(line, rows, first, n);
}

/* Which file holds the values of an event, and by what key. */
typedef struct gtrace_stored {
  gtrace_text file, key;
} gtrace_stored;

/* One event of rows [first, first + n). Their values are written unless `stored` says where they are. */
static int gtrace_emit(gtrace_trace* t, const gtrace_where* where, const char* phase, const gtrace_rows* rows,
                       int64_t first, int64_t n, gtrace_stored* stored) {
  gtrace_text key = {NULL, 0, 0, 0}, form = {NULL, 0, 0, 0}, line = {NULL, 0, 0, 0};
  gtrace_place* place = NULL;
  int64_t i, seen = 0;
  int code = GRETA_TRACE_OK;
  gtrace_place_key(&key, where, phase, rows);
  gtrace_form(&form, rows);
  if (!key.failed && !form.failed) place = gtrace_place_of(t, key.at);
  if (place == NULL)
    code = gtrace_no_memory();
  else if (place->count > 0 && strcmp(place->form, form.at) != 0)
    code = gtrace_bad(GRETA_TRACE_E_TWICE, rows->event,
                      "recorded before with another kernel, type or width: begin another phase");
  else
    code = gtrace_seen(place, rows, first, n, &seen);
  if (code == GRETA_TRACE_OK && seen < n) {
    if (!gtrace_reserve(place, form.at, n)) code = gtrace_no_memory();
    if (code == GRETA_TRACE_OK && stored->file.at == NULL) {
      char name[48];
      (void)snprintf(name, sizeof name, "tensors-%04ld.safetensors", (long)t->n_files);
      gtrace_puts(&stored->file, name);
      gtrace_tensor_key(&stored->key, where, phase, rows);
      code = stored->file.failed || stored->key.failed
                 ? gtrace_no_memory()
                 : gtrace_write_values(t, &stored->key, rows, first, n, name);
      if (code == GRETA_TRACE_OK) ++t->n_files;
    }
    if (code == GRETA_TRACE_OK) {
      gtrace_event_line(&line, where, phase, rows, first, n);
      gtrace_field(&line, "file", stored->file.at);
      gtrace_field(&line, "tensor", stored->key.at);
      gtrace_puts(&line, "}\n");
      code = line.failed ? gtrace_no_memory() : gtrace_append(t, &line);
    }
    for (i = first; i < first + n && code == GRETA_TRACE_OK; ++i) {
      const int64_t position = gtrace_position(rows, i);
      if (place->count == 0 || position > place->largest) place->largest = position;
      place->positions[place->count] = position;
      place->hashes[place->count++] = rows->hashes[i];
    }
  }
  free(key.at);
  free(form.at);
  free(line.at);
  return code;
}

/* The last prompt token's row of phase prefill is phase prefill_last; the cache, all of it, is both. */
static int gtrace_emit_last(gtrace_trace* t, const gtrace_where* where, const gtrace_rows* rows,
                            gtrace_stored* all) {
  const int is_cache = strcmp(rows->event->stage, "kv_write") == 0;
  const int64_t last = rows->count - 1;
  const gtrace_named* prompt = t->named;
  gtrace_stored row = {{NULL, 0, 0, 0}, {NULL, 0, 0, 0}};
  int code;
  while (prompt != NULL && (prompt->kind != 'p' || strcmp(prompt->name, where->prompt) != 0))
    prompt = prompt->next;
  if (strcmp(where->phase, "prefill") != 0 || prompt == NULL ||
      gtrace_position(rows, last) != (int64_t)prompt->n_tokens - 1)
    return GRETA_TRACE_OK;
  if (is_cache || last == 0) return gtrace_emit(t, where, "prefill_last", rows, 0, rows->count, all);
  code = gtrace_emit(t, where, "prefill_last", rows, last, 1, &row);
  free(row.file.at);
  free(row.key.at);
  return code;
}

static int gtrace_record(gtrace_trace* t, const gtrace_where* where, const gtrace_rows* rows) {
  gtrace_stored stored = {{NULL, 0, 0, 0}, {NULL, 0, 0, 0}};
  int code = t->changed ? gtrace_write_manifest(t, 0) : GRETA_TRACE_OK;
  if (code == GRETA_TRACE_OK) code = gtrace_emit(t, where, where->phase, rows, 0, rows->count, &stored);
  if (code == GRETA_TRACE_OK) code = gtrace_emit_last(t, where, rows, &stored);
  free(stored.file.at);
  free(stored.key.at);
  return code;
}

/* The event's own phase, prompt and experiment, or the trace's; and how to read its memory. */
static int gtrace_enter(greta_trace trace, const greta_trace_event* e, gtrace_where* where,
                        gtrace_source* source) {
  const char *phase = e->phase, *prompt = e->prompt, *experiment = e->experiment;
  int code = GRETA_TRACE_OK;
  gtrace_trace* t;
  GRETA_TRACE_LOCK();
  t = gtrace_find(trace);
  if (t == NULL) {
    code = gtrace_no_trace();
  } else if (t->broken) {
    code = gtrace_is_broken();
  } else {
    if (phase == NULL) phase = t->phase;
    if (prompt == NULL) prompt = t->prompt;
    if (experiment == NULL) experiment = t->experiment != NULL ? t->experiment : "E0";
    source->copy = e->flags & GRETA_TRACE_HOST ? NULL : t->copy;
    source->user = t->copy_user;
    if (phase == NULL || prompt == NULL || *prompt == 0) {
      code = gtrace_bad(GRETA_TRACE_E_PHASE, e, "no phase was begun: greta_trace_begin comes first");
    } else {
      where->phase = gtrace_copy(phase);
      where->prompt = gtrace_copy(prompt);
      where->experiment = gtrace_copy(experiment);
      if (where->phase == NULL || where->prompt == NULL || where->experiment == NULL)
        code = gtrace_no_memory();
    }
  }
  GRETA_TRACE_UNLOCK();
  return code;
}

GRETA_TRACE_API int greta_trace_stage(greta_trace trace, const greta_trace_event* event) {
  gtrace_rows rows;
  gtrace_where where = {NULL, NULL, NULL};
  gtrace_source source = {NULL, NULL};
  gtrace_trace* t;
  int code;
  memset(&rows, 0, sizeof rows);
  rows.event = event;
  code = gtrace_check_event(&rows);
  if (code == GRETA_TRACE_OK) code = gtrace_enter(trace, event, &where, &source);
  if (code == GRETA_TRACE_OK) code = gtrace_read(&rows, source);
  if (code == GRETA_TRACE_OK) {
    GRETA_TRACE_LOCK();
    t = gtrace_find(trace);
    code = t == NULL ? gtrace_no_trace() : t->broken ? gtrace_is_broken() : gtrace_record(t, &where, &rows);
    GRETA_TRACE_UNLOCK();
  }
  free(rows.data);
  free(rows.hashes);
  free(where.phase);
  free(where.prompt);
  free(where.experiment);
  return gtrace_done(trace, code);
}

/* ---- Ops ---- */

/* "eps=1e-6, layout=halves" as the fields of an object. */
static int gtrace_attributes(gtrace_text* json, const char* op, const char* at) {
  while (at != NULL) {
    const char* comma = strchr(at, ',');
    size_t size = comma == NULL ? strlen(at) : (size_t)(comma - at), key;
    const char* equals;
    int is_negative;
    while (size > 0 && *at == ' ') ++at, --size;
    while (size > 0 && at[size - 1] == ' ') --size;
    if (size > 0) {
      equals = (const char*)memchr(at, '=', size);
      key = equals == NULL ? 0 : (size_t)(equals - at);
      if (key == 0 || key + 1 == size)
        return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "op \"%.40s\": \"%.*s\" is no name=value", op,
                           (int)(size < 40 ? size : 40), at);
      if (json->size > 0 && json->at[json->size - 1] != '{') gtrace_puts(json, ",");
      gtrace_quote_part(json, at, key);
      gtrace_puts(json, ":");
      is_negative = equals[1] == '-';
      if (gtrace_is_number(equals + 1 + is_negative, size - key - 1 - (size_t)is_negative))
        gtrace_put(json, equals + 1, size - key - 1);
      else
        gtrace_quote_part(json, equals + 1, size - key - 1);
    }
    at = comma == NULL ? NULL : comma + 1;
  }
  return GRETA_TRACE_OK;
}

/* One tensor as an event: `more` is what its line says of the op that made it, or "". */
static int gtrace_emit_tensor(greta_trace trace, const greta_trace_op_event* op,
                              const greta_trace_tensor* tensor, const char* name, const char* more) {
  greta_trace_event event;
  gtrace_rows rows;
  gtrace_where where = {NULL, NULL, NULL};
  gtrace_source source = {NULL, NULL};
  gtrace_text key = {NULL, 0, 0, 0}, line = {NULL, 0, 0, 0};
  gtrace_trace* t;
  char file[48];
  int code;
  memset(&event, 0, sizeof event);
  memset(&rows, 0, sizeof rows);
  event.stage = name;
  event.layer = op->layer;
  event.dtype = tensor->dtype;
  event.data = tensor->data;
  memcpy(event.shape, tensor->shape, sizeof event.shape);
  event.strides = tensor->strides;
  event.kernel = *more != 0 ? op->kernel : NULL;
  event.flags = op->flags & GRETA_TRACE_HOST;
  rows.event = &event;
  rows.is_tensor = 1;
  code = gtrace_check_event(&rows);
  if (code == GRETA_TRACE_OK) code = gtrace_enter(trace, &event, &where, &source);
  if (code == GRETA_TRACE_OK) code = gtrace_read(&rows, source);
  if (code == GRETA_TRACE_OK) {
    GRETA_TRACE_LOCK();
    t = gtrace_find(trace);
    code = t == NULL ? gtrace_no_trace() : t->broken ? gtrace_is_broken() : GRETA_TRACE_OK;
    if (code == GRETA_TRACE_OK && t->changed) code = gtrace_write_manifest(t, 0);
    if (code == GRETA_TRACE_OK) {
      (void)snprintf(file, sizeof file, "tensors-%04ld.safetensors", (long)t->n_files);
      gtrace_tensor_key(&key, &where, where.phase, &rows);
      code = key.failed ? gtrace_no_memory() : gtrace_write_values(t, &key, &rows, 0, rows.count, file);
    }
    if (code == GRETA_TRACE_OK) {
      ++t->n_files;
      gtrace_event_line(&line, &where, where.phase, &rows, 0, rows.count);
      gtrace_field(&line, "name", name);
      gtrace_puts(&line, more);
      gtrace_field(&line, "file", file);
      gtrace_field(&line, "tensor", key.at);
      gtrace_puts(&line, "}\n");
      code = line.failed ? gtrace_no_memory() : gtrace_append(t, &line);
    }
    GRETA_TRACE_UNLOCK();
  }
  free(rows.data);
  free(rows.hashes);
  free(where.phase);
  free(where.prompt);
  free(where.experiment);
  free(key.at);
  free(line.at);
  return code;
}

static int gtrace_check_op(const greta_trace_op_event* e) {
  size_t i;
  if (e == NULL || e->op == NULL || *e->op == 0)
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "an op needs its name");
  if (e->n_inputs > 64 || (e->inputs == NULL && e->n_inputs > 0))
    return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "op \"%.40s\": inputs is NULL, or more than 64", e->op);
  for (i = 0; i < e->n_inputs; ++i) {
    if (e->inputs[i].name == NULL || *e->inputs[i].name == 0)
      return gtrace_fail(GRETA_TRACE_E_ARGUMENT, "op \"%.40s\": input %d has no name", e->op, (int)i);
  }
  return GRETA_TRACE_OK;
}

GRETA_TRACE_API int greta_trace_op(greta_trace trace, const greta_trace_op_event* event) {
  gtrace_text more = {NULL, 0, 0, 0};
  const char* name;
  size_t i;
  int code = gtrace_check_op(event);
  if (code == GRETA_TRACE_OK) {
    gtrace_puts(&more, ",\"op\":");
    gtrace_quote(&more, event->op);
    gtrace_puts(&more, ",\"inputs\":[");
    for (i = 0; i < event->n_inputs; ++i) {
      if (i > 0) gtrace_puts(&more, ",");
      gtrace_quote(&more, event->inputs[i].name);
    }
    gtrace_puts(&more, "],\"attributes\":{");
    code = gtrace_attributes(&more, event->op, event->attributes);
    gtrace_puts(&more, "}");
    if (code == GRETA_TRACE_OK && more.failed) code = gtrace_no_memory();
  }
  for (i = 0; code == GRETA_TRACE_OK && i < event->n_inputs; ++i) {
    if (event->inputs[i].data == NULL) continue;
    code = gtrace_emit_tensor(trace, event, &event->inputs[i], event->inputs[i].name, "");
  }
  if (code == GRETA_TRACE_OK) {
    name = event->output.name != NULL && *event->output.name != 0 ? event->output.name : event->op;
    code = gtrace_emit_tensor(trace, event, &event->output, name, more.at);
  }
  free(more.at);
  return gtrace_done(trace, code);
}

GRETA_TRACE_API int greta_trace_rows(greta_trace trace, const char* stage, int layer, const void* data,
                                     greta_trace_dtype dtype, int64_t rows, int64_t width,
                                     int64_t first_position) {
  greta_trace_event event;
  memset(&event, 0, sizeof event);
  event.stage = stage;
  event.layer = layer;
  event.dtype = dtype;
  event.data = data;
  event.shape[0] = rows;
  event.shape[1] = width;
  event.position = first_position;
  return greta_trace_stage(trace, &event);
}

#endif /* GRETA_TRACE_IMPLEMENTED */
#endif /* GRETA_TRACE_IMPLEMENTATION */
