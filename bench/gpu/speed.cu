// Speed of the products of kernels/gpu on a real card, beside what the card reads and what cuBLAS makes of
// bf16 in the same run. Weights are random bits, cycled through more memory than any cache holds; launches
// are replayed as a graph. Build and run:
//   nvcc -std=c++20 -O3 --expt-relaxed-constexpr -fmad=false -gencode=arch=compute_90a,code=sm_90a -Isrc
//        bench/gpu/speed.cu -lcublas -o speed && ./speed

#include <cublas_v2.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "gpu/cuda_map.h"
#include "kernels/gpu/kernels.cu"

namespace {

using namespace greta;
using namespace greta::gpu;
using namespace greta::gpu::cuda;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

__global__ void fill_random(uint32_t* to, size_t count) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count;
       i += size_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u;
    x ^= x >> 16, x *= 0x85ebca6bu, x ^= x >> 13;
    to[i] = x & 0xbbffbbffu;  // as f16: never infinite, so that no product is slow or fast for being odd
  }
}

__global__ void read_all(const uint4* from, size_t count, uint32_t* out) {
  uint32_t sum = 0;
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count;
       i += size_t{gridDim.x} * blockDim.x) {
    const uint4 x = __ldg(from + i);
    sum += x.x ^ x.y ^ x.z ^ x.w;
  }
  if (sum == 12345) *out = sum;
}

constexpr size_t kMemory = size_t{2} << 30;

struct Card {
  cudaStream_t stream;
  int processors = 1, shared = 0, overlaps = 1;
  std::byte *memory, *x, *out;
  cublasHandle_t cublas;

  Card() {
    check(cudaStreamCreate(&stream), "stream");
    cublasCreate(&cublas);
    cublasSetStream(cublas, stream);
    void* workspace;
    check(cudaMalloc(&workspace, size_t{64} << 20), "memory");
    cublasSetWorkspace(cublas, workspace, size_t{64} << 20);
    check(cudaMalloc(&memory, kMemory), "memory");
    check(cudaMalloc(&x, size_t{64} << 20), "memory");
    check(cudaMalloc(&out, size_t{512} << 20), "memory");
    fill_random<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(memory), kMemory / 4);
    fill_random<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(x), (size_t{64} << 20) / 4);
    check(cudaStreamSynchronize(stream), "fill");
  }

  /// Microseconds of one of `count` launches: the median of 15 replays of a graph.
  template <class Launch>
  double time(int count, Launch launch) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    for (int i = 0; i < count; ++i) launch(i);
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&exec, graph, 0), "graph");
    cudaEvent_t begin, end;
    cudaEventCreate(&begin), cudaEventCreate(&end);
    std::vector<float> times;
    for (int i = 0; i < 18; ++i) {
      cudaEventRecord(begin, stream);
      check(cudaGraphLaunch(exec, stream), "launch");
      cudaEventRecord(end, stream);
      check(cudaEventSynchronize(end), "run");
      float ms = 0;
      cudaEventElapsedTime(&ms, begin, end);
      if (i >= 3) times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    return 1e3 * times[times.size() / 2] / count;
  }
};

using Products = Parts<kBeside>;
using Global = void (*)(Products);

/// As gpu/cuda.cpp launches: the next kernel may begin before this one has ended.
void launch(const Card& card, Global kernel, dim3 grid, int threads, int shared, Args args) {
  args.groups = static_cast<int>(grid.y);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = card.overlaps;
  cudaLaunchConfig_t shape{};
  shape.gridDim = grid, shape.blockDim = dim3(static_cast<unsigned>(threads));
  shape.dynamicSmemBytes = static_cast<size_t>(shared);
  shape.stream = card.stream;
  shape.attrs = &overlap, shape.numAttrs = 1;
  check(cudaLaunchKernelEx(&shape, kernel, Products{{args}}), "launch");
}

struct Product {
  const char* name;
  TensorType type;
  Global gemv, gemm;
};

const Product kProducts[] = {
    {"bf16", TensorType::bf16, greta_gemv_bf16, greta_gemm_bf16},
    {"f16", TensorType::f16, greta_gemv_f16, greta_gemm_f16},
    {"q4_k", TensorType::q4_k, greta_gemv_q4_k, greta_gemm_q4_k},
    {"q6_k", TensorType::q6_k, greta_gemv_q6_k, greta_gemm_q6_k},
    {"q4_1", TensorType::q4_1, greta_gemv_q4_1, greta_gemm_q4_1},
    {"q8_0", TensorType::q8_0, greta_gemv_q8_0, greta_gemm_q8_0},
    {"q4_0", TensorType::q4_0, greta_gemv_q4_0, greta_gemm_q4_0},
};

int64_t panel_bytes(TensorType type, int64_t k) {
  if (is_half(type)) return (k * 32 + 63) / 64 * 64;
  const BlockCode code = block_code(type);
  return (k / kBlock / code.run() * code.run_bytes() + 63) / 64 * 64;
}

Args args_for(const Card& card, TensorType type, int64_t n, int64_t k, int64_t rows) {
  Args args{};
  args.in[0] = {card.x, rows, k, k / kBlock * int64_t{sizeof(ActivationBlock)}, Format::q8_block32};
  if (is_half(type)) args.in[0].stride = k * 2, args.in[0].format = Format::bf16;
  args.out = {card.out, rows, n, n * 4, Format::f32};
  args.weight = {card.memory, n, k, panel_bytes(type, k)};
  return args;
}

void gemv(Card& card, const Product& product, int64_t n, int64_t k, double read) {
  Args args = args_for(card, product.type, n, k, 1);
  const int64_t panels = (n + 15) / 16, bytes = panels * args.weight.panel_bytes;
  const int copies = static_cast<int>(std::min<int64_t>(40, static_cast<int64_t>(kMemory) / bytes));
  const GemvShape shape(product.type, 32);
  const int shared = shape.bytes();
  const dim3 grid(1, static_cast<unsigned>(
                         std::min<int64_t>(panels, int64_t{shape.groups(card.shared)} * card.processors)));
  check(cudaFuncSetAttribute(product.gemv, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "shared");
  check(cudaFuncSetAttribute(product.gemv, cudaFuncAttributePreferredSharedMemoryCarveout, 100), "shared");
  const double us = card.time(copies * (bytes < (32 << 20) ? 3 : 1), [&](int i) {
    args.weight.panels = card.memory + i % copies * bytes;
    launch(card, product.gemv, grid, 32 * (shape.waves + 1), shared, args);
  });
  std::printf("gemv %-5s %6ld x %5ld  %8.2f us  %7.0f GB/s  %3.0f %% of read\n", product.name, n, k, us,
              1e-3 * bytes / us, 1e-1 * bytes / us / read);
}

void gemm(Card& card, const Product& product, int64_t s, int64_t n, int64_t k) {
  Args args = args_for(card, product.type, n, k, s);
  const auto over = [](int64_t count, int64_t unit) {
    return static_cast<unsigned>((count + unit - 1) / unit);
  };
  constexpr HalfGemmShape kHalf(32);
  const bool half = is_half(product.type);
  const Int8GemmShape int8(product.type, 32);
  const dim3 grid = half ? dim3(1, std::min(over(s, kHalf.tokens) * over(n, 16 * kHalf.panels),
                                            static_cast<unsigned>(card.processors)))
                         : dim3(over(s, int8.tokens()), over(n, 16 * int8.kPanels));
  const int threads = 32 * (half ? kHalf.waves() : int8.kWaves), shared = half ? kHalf.bytes() : int8.bytes();
  check(cudaFuncSetAttribute(product.gemm, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "shared");
  check(cudaFuncSetAttribute(product.gemm, cudaFuncAttributePreferredSharedMemoryCarveout, 100), "shared");
  if (half) {
    void* encode;
    check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &encode, cudaEnableDefault), "maps");
    if (make_copy_maps(reinterpret_cast<EncodeMap>(encode), args) != 0) std::printf("no maps\n");
  }
  const double us = card.time(5, [&](int) { launch(card, product.gemm, grid, threads, shared, args); });
  std::printf("gemm %-6s %4ld x %5ld x %5ld  %8.1f us  %6.1f TOPS", product.name, s, n, k, us,
              2e-6 * s * n * k / us);
  for (const cudaDataType out : {CUDA_R_16BF, CUDA_R_32F}) {
    if (!half) break;
    const float one = 1, zero = 0;
    const cudaDataType in = product.type == TensorType::f16 ? CUDA_R_16F : CUDA_R_16BF;
    const double theirs = card.time(5, [&](int) {
      cublasGemmEx(card.cublas, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(n), static_cast<int>(s),
                   static_cast<int>(k), &one, card.memory, in, static_cast<int>(k), card.x, in,
                   static_cast<int>(k), &zero, card.out, in == CUDA_R_16F && out == CUDA_R_16BF ? in : out,
                   static_cast<int>(n), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    });
    std::printf("  cuBLAS%s %.1f us (%.0f %%)", out == CUDA_R_32F ? ", f32 out" : "", theirs,
                100 * theirs / us);
  }
  std::printf("\n");
}

}  // namespace

int main(int count, char** words) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "no card");
  Card card;
  card.processors = properties.multiProcessorCount;
  card.shared = static_cast<int>(properties.sharedMemPerMultiprocessor);
  if (count > 1) card.overlaps = std::atoi(words[1]);  // 0: a launch waits for the end of the one before
  const double us = card.time(3, [&](int) {
    read_all<<<properties.multiProcessorCount * 16, 512, 0, card.stream>>>(
        reinterpret_cast<const uint4*>(card.memory), kMemory / 16, reinterpret_cast<uint32_t*>(card.out));
  });
  const double read = 1e-3 * kMemory / us;  // GB/s
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("%s, %d SMs; read: %.0f GB/s\n", properties.name, properties.multiProcessorCount, read);
  struct Shape3 {
    int64_t s, n, k;
  };
  for (const Product& product : kProducts) {
    for (const auto& [n, k] : {std::pair{1024, 4096},
                               {4096, 4096},
                               {6144, 4096},
                               {14336, 4096},
                               {4096, 14336},
                               {28672, 4096},
                               {128256, 4096}})
      gemv(card, product, n, k, read);
    for (const auto& [s, n, k] : {Shape3{32, 4096, 4096}, {512, 4096, 4096}, {2048, 14336, 4096}})
      gemm(card, product, s, n, k);
  }
  check(cudaDeviceSynchronize(), "end");
  return 0;
}
