/* The example engine on a CPU, in C99:  cc -O2 -I include examples/engine.c -o engine -lm */
#include "engine.h"

#include <math.h>

static const char* device_name(void) { return "cpu"; }
static float* device_floats(size_t n) { return (float*)allocated(n * sizeof(float)); }
static void device_free(float* memory) { free(memory); }
static void device_write(float* to, const float* host, size_t n) { memcpy(to, host, n * sizeof *to); }
static void device_move(float* to, const float* from, size_t n) { memcpy(to, from, n * sizeof *to); }

static int device_read(void* unused, void* host, const void* from, size_t bytes) {
  (void)unused;
  memcpy(host, from, bytes);
  return 0;
}

static void rms_norm(float* y, const float* x, const float* weight, int rows, int width, float eps) {
  int row, i;
  for (row = 0; row < rows; ++row, x += width, y += width) {
    float sum = 0, scale;
    for (i = 0; i < width; ++i) sum += x[i] * x[i];
    scale = 1 / sqrtf(sum / (float)width + eps);
    for (i = 0; i < width; ++i) y[i] = x[i] * scale * weight[i];
  }
}

/* Four rows at a time share a pass over the weight. */
static void gemm(float* y, const float* x, const float* weight, int rows, int n, int k) {
  int row, i, j, r;
  for (row = 0; row < rows; row += 4) {
    const int block = rows - row < 4 ? rows - row : 4;
    for (i = 0; i < n; ++i) {
      float sums[4] = {0, 0, 0, 0};
      for (j = 0; j < k; ++j) {
        for (r = 0; r < block; ++r)
          sums[r] += x[(row + r) * k + j] * weight[(size_t)i * (size_t)k + (size_t)j];
      }
      for (r = 0; r < block; ++r) y[(row + r) * n + i] = sums[r];
    }
  }
}

/* Eight partial sums, as a vector unit has them. */
static void gemv(float* y, const float* x, const float* weight, int n, int k, int column_major) {
  const size_t row = column_major ? 1 : (size_t)k, column = column_major ? (size_t)n : 1;
  int i, j, lane;
  for (i = 0; i < n; ++i) {
    float sums[8] = {0};
    for (j = 0; j < k; ++j) sums[j % 8] += x[j] * weight[(size_t)i * row + (size_t)j * column];
    for (lane = 1; lane < 8; ++lane) sums[0] += sums[lane];
    y[i] = sums[0];
  }
}

static void rope(float* x, int rows, int heads, int head_dim, int first, float base) {
  int row, head, i;
  for (row = 0; row < rows; ++row) {
    for (head = 0; head < heads; ++head, x += head_dim) {
      for (i = 0; i < head_dim; i += 2) {
        const float angle = (float)(first + row) * (float)pow(base, -(double)i / head_dim);
        const float c = cosf(angle), s = sinf(angle), a = x[i], b = x[i + 1];
        x[i] = a * c - b * s;
        x[i + 1] = a * s + b * c;
      }
    }
  }
}

static void scores(float* y, const float* q, const float* keys, const Model* m, int rows, int n_pos,
                   int first, int more) {
  const int dim = m->head_dim, group = m->n_head / m->n_head_kv;
  const float scale = 1 / sqrtf((float)dim);
  int head, row, position, i;
  for (head = 0; head < m->n_head; ++head) {
    for (row = 0; row < rows; ++row) {
      for (position = 0; position < n_pos; ++position) {
        const float* a = q + (row * m->n_head + head) * dim;
        const float* b = keys + (position * m->n_head_kv + head / group) * dim;
        float sum = 0;
        for (i = 0; i < dim; ++i) sum += a[i] * b[i];
        *y++ = position <= first + row + more ? sum * scale : -INFINITY;
      }
    }
  }
}

static void softmax(float* y, const float* x, int rows, int n_pos) {
  int row, i;
  for (row = 0; row < rows; ++row, x += n_pos, y += n_pos) {
    float most = x[0], sum = 0;
    for (i = 1; i < n_pos; ++i) most = x[i] > most ? x[i] : most;
    for (i = 0; i < n_pos; ++i) sum += y[i] = expf(x[i] - most);
    for (i = 0; i < n_pos; ++i) y[i] /= sum;
  }
}

static void mix(float* y, const float* weights, const float* values, const Model* m, int rows, int n_pos) {
  const int dim = m->head_dim, group = m->n_head / m->n_head_kv;
  int row, head, i, position;
  for (row = 0; row < rows; ++row) {
    for (head = 0; head < m->n_head; ++head) {
      for (i = 0; i < dim; ++i) {
        float sum = 0;
        for (position = 0; position < n_pos; ++position)
          sum += weights[(head * rows + row) * n_pos + position] *
                 values[(position * m->n_head_kv + head / group) * dim + i];
        *y++ = sum;
      }
    }
  }
}

static void silu_mul(float* y, const float* gate, const float* up, size_t n) {
  size_t i;
  for (i = 0; i < n; ++i) y[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

static void add(float* y, const float* a, const float* b, size_t n) {
  size_t i;
  for (i = 0; i < n; ++i) y[i] = a[i] + b[i];
}
