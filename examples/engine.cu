// The example engine on a GPU. NVIDIA:  nvcc -O2 -std=c++17 -I include examples/engine.cu -o engine
// AMD (engine.hip includes this file):  hipcc -O2 -std=c++17 -I include examples/engine.hip -o engine
#ifdef GRETA_EXAMPLE_HIP
#include <hip/hip_runtime.h>
#define cudaError_t hipError_t
#define cudaSuccess hipSuccess
#define cudaGetErrorString hipGetErrorString
#define cudaGetLastError hipGetLastError
#define cudaMalloc hipMalloc
#define cudaFree hipFree
#define cudaMemset hipMemset
#define cudaMemcpy hipMemcpy
#define cudaMemcpyDefault hipMemcpyDefault
#endif

#include "engine.h"

namespace {

constexpr int kThreads = 128;
constexpr int kTile = 16;

void check(cudaError_t error) {
  if (error != cudaSuccess) die("the GPU says:", cudaGetErrorString(error));
}

unsigned blocks(size_t n, int threads = kThreads) {
  return static_cast<unsigned>((n + threads - 1) / threads);
}

__device__ size_t global_thread() { return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

/// Of a block of kThreads, in a fixed order; all threads get it.
template <class Join>
__device__ float joined(float own, Join join) {
  __shared__ float parts[kThreads];
  __syncthreads();
  parts[threadIdx.x] = own;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) parts[threadIdx.x] = join(parts[threadIdx.x], parts[threadIdx.x + half]);
  }
  __syncthreads();
  return parts[0];
}

__device__ float sum_of(float own) {
  return joined(own, [](float a, float b) { return a + b; });
}

/// A block a row.
__global__ void norm_kernel(float* y, const float* x, const float* weight, int width, float eps) {
  x += static_cast<size_t>(blockIdx.x) * width;
  y += static_cast<size_t>(blockIdx.x) * width;
  float sum = 0;
  for (int i = threadIdx.x; i < width; i += kThreads) sum += x[i] * x[i];
  const float scale = 1 / sqrtf(sum_of(sum) / width + eps);
  for (int i = threadIdx.x; i < width; i += kThreads) y[i] = x[i] * scale * weight[i];
}

/// A thread an output, a tile of both operands in shared memory.
__global__ void gemm_kernel(float* y, const float* x, const float* weight, int rows, int n, int k) {
  __shared__ float xs[kTile][kTile], ws[kTile][kTile + 1];
  const int row = blockIdx.y * kTile + threadIdx.y, column = blockIdx.x * kTile + threadIdx.x;
  const int weight_row = blockIdx.x * kTile + threadIdx.y;
  float sum = 0;
  for (int at = 0; at < k; at += kTile) {
    const int j = at + threadIdx.x;
    xs[threadIdx.y][threadIdx.x] = row < rows && j < k ? x[static_cast<size_t>(row) * k + j] : 0;
    ws[threadIdx.y][threadIdx.x] =
        weight_row < n && j < k ? weight[static_cast<size_t>(weight_row) * k + j] : 0;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += xs[threadIdx.y][i] * ws[threadIdx.x][i];
    __syncthreads();
  }
  if (row < rows && column < n) y[static_cast<size_t>(row) * n + column] = sum;
}

/// A block an output, its threads share K.
__global__ void gemv_kernel(float* y, const float* x, const float* weight, int n, int k, int column_major) {
  const size_t row = column_major ? 1 : k, column = column_major ? n : 1;
  float sum = 0;
  for (int j = threadIdx.x; j < k; j += kThreads) sum += x[j] * weight[blockIdx.x * row + j * column];
  sum = sum_of(sum);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

/// A thread a pair.
__global__ void rope_kernel(float* x, size_t pairs, int heads, int head_dim, int first, float base) {
  const size_t pair = global_thread();
  if (pair >= pairs) return;
  const int i = static_cast<int>(pair % (head_dim / 2)) * 2;
  const int position = first + static_cast<int>(pair / (head_dim / 2) / heads);
  const float angle =
      position * static_cast<float>(pow(static_cast<double>(base), -static_cast<double>(i) / head_dim));
  const float c = cosf(angle), s = sinf(angle), a = x[2 * pair], b = x[2 * pair + 1];
  x[2 * pair] = a * c - b * s;
  x[2 * pair + 1] = a * s + b * c;
}

/// A block a head and row.
__global__ void scores_kernel(float* y, const float* q, const float* keys, int heads, int kv_heads,
                              int head_dim, int rows, int n_pos, int first, int more) {
  const int head = blockIdx.x / rows, row = blockIdx.x % rows;
  const float* a = q + (static_cast<size_t>(row) * heads + head) * head_dim;
  const float scale = 1 / sqrtf(static_cast<float>(head_dim));
  for (int position = threadIdx.x; position < n_pos; position += kThreads) {
    const float* b = keys + (static_cast<size_t>(position) * kv_heads + head / (heads / kv_heads)) * head_dim;
    float sum = 0;
    for (int i = 0; i < head_dim; ++i) sum += a[i] * b[i];
    y[static_cast<size_t>(blockIdx.x) * n_pos + position] =
        position <= first + row + more ? sum * scale : -INFINITY;
  }
}

/// A block a row.
__global__ void softmax_kernel(float* y, const float* x, int n_pos) {
  x += static_cast<size_t>(blockIdx.x) * n_pos;
  y += static_cast<size_t>(blockIdx.x) * n_pos;
  float most = -INFINITY, sum = 0;
  for (int i = threadIdx.x; i < n_pos; i += kThreads) most = fmaxf(most, x[i]);
  most = joined(most, [](float a, float b) { return fmaxf(a, b); });
  for (int i = threadIdx.x; i < n_pos; i += kThreads) sum += y[i] = expf(x[i] - most);
  sum = sum_of(sum);
  for (int i = threadIdx.x; i < n_pos; i += kThreads) y[i] /= sum;
}

/// A block a row and head.
__global__ void mix_kernel(float* y, const float* weights, const float* values, int heads, int kv_heads,
                           int head_dim, int rows, int n_pos) {
  const int row = blockIdx.x / heads, head = blockIdx.x % heads;
  const float* own = weights + (static_cast<size_t>(head) * rows + row) * n_pos;
  for (int i = threadIdx.x; i < head_dim; i += kThreads) {
    float sum = 0;
    for (int position = 0; position < n_pos; ++position) {
      sum += own[position] *
             values[(static_cast<size_t>(position) * kv_heads + head / (heads / kv_heads)) * head_dim + i];
    }
    y[static_cast<size_t>(blockIdx.x) * head_dim + i] = sum;
  }
}

__global__ void silu_mul_kernel(float* y, const float* gate, const float* up, size_t n) {
  const size_t i = global_thread();
  if (i < n) y[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

__global__ void add_kernel(float* y, const float* a, const float* b, size_t n) {
  const size_t i = global_thread();
  if (i < n) y[i] = a[i] + b[i];
}

}  // namespace

#ifdef GRETA_EXAMPLE_HIP
static const char* device_name() { return "hip:0"; }
#else
static const char* device_name() { return "cuda:0"; }
#endif

static float* device_floats(size_t n) {
  float* memory = nullptr;
  check(cudaMalloc(reinterpret_cast<void**>(&memory), n * sizeof *memory));
  check(cudaMemset(memory, 0, n * sizeof *memory));
  return memory;
}

static void device_free(float* memory) { check(cudaFree(memory)); }

static void device_write(float* to, const float* host, size_t n) {
  check(cudaMemcpy(to, host, n * sizeof *to, cudaMemcpyDefault));
}

static void device_move(float* to, const float* from, size_t n) { device_write(to, from, n); }

// Waits for all kernels before it, as they run in the same (default) stream.
static int device_read(void*, void* host, const void* from, size_t bytes) {
  return cudaMemcpy(host, from, bytes, cudaMemcpyDefault) == cudaSuccess ? 0 : 1;
}

static void rms_norm(float* y, const float* x, const float* weight, int rows, int width, float eps) {
  norm_kernel<<<rows, kThreads>>>(y, x, weight, width, eps);
  check(cudaGetLastError());
}

static void gemm(float* y, const float* x, const float* weight, int rows, int n, int k) {
  gemm_kernel<<<dim3(blocks(n, kTile), blocks(rows, kTile)), dim3(kTile, kTile)>>>(y, x, weight, rows, n, k);
  check(cudaGetLastError());
}

static void gemv(float* y, const float* x, const float* weight, int n, int k, int column_major) {
  gemv_kernel<<<n, kThreads>>>(y, x, weight, n, k, column_major);
  check(cudaGetLastError());
}

static void rope(float* x, int rows, int heads, int head_dim, int first, float base) {
  const size_t pairs = static_cast<size_t>(rows) * heads * head_dim / 2;
  rope_kernel<<<blocks(pairs), kThreads>>>(x, pairs, heads, head_dim, first, base);
  check(cudaGetLastError());
}

static void scores(float* y, const float* q, const float* keys, const Model* m, int rows, int n_pos,
                   int first, int more) {
  scores_kernel<<<m->n_head * rows, kThreads>>>(y, q, keys, m->n_head, m->n_head_kv, m->head_dim, rows, n_pos,
                                                first, more);
  check(cudaGetLastError());
}

static void softmax(float* y, const float* x, int rows, int n_pos) {
  softmax_kernel<<<rows, kThreads>>>(y, x, n_pos);
  check(cudaGetLastError());
}

static void mix(float* y, const float* weights, const float* values, const Model* m, int rows, int n_pos) {
  mix_kernel<<<m->n_head * rows, kThreads>>>(y, weights, values, m->n_head, m->n_head_kv, m->head_dim, rows,
                                             n_pos);
  check(cudaGetLastError());
}

static void silu_mul(float* y, const float* gate, const float* up, size_t n) {
  silu_mul_kernel<<<blocks(n), kThreads>>>(y, gate, up, n);
  check(cudaGetLastError());
}

static void add(float* y, const float* a, const float* b, size_t n) {
  add_kernel<<<blocks(n), kThreads>>>(y, a, b, n);
  check(cudaGetLastError());
}
