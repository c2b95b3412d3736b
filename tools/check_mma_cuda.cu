// Runs matrix instructions of an NVIDIA GPU on chosen inputs and writes what went in and what came out, so
// that `greta mma` can hold its model against the hardware:
//
//   nvcc -std=c++17 -O2 -gencode=arch=compute_90a,code=sm_90a tools/check_mma_cuda.cu -o check_mma_cuda
//   ./check_mma_cuda hopper.safetensors              # prints the instructions that it ran
//   greta mma hopper.mma.m16n8k16.f32.bf16.bf16.f32 --in hopper.safetensors --out model.safetensors
//
// The file holds UNIT.INSTRUCTION/DISTRIBUTION/{A [n, m, k], Bt [n, n, k], C [n, m, n], D_gpu [n, m, n]}:
// bits, in the dtypes that `greta mma` takes. It stands alone: CUDA and the C++ library, nothing of GRETA.
// mma.sync needs compute capability 8.0 (fp8: 8.9), wgmma the one of Hopper: on other GPUs what is missing is
// left out.
//
// Fragment layouts: PTX ISA, "Warp-level matrix fragment" of mma.m16n8k* and "Register fragments" of wgmma.
// Seen as 32-bit registers they are one layout for all types: with g = lane / 4 and t = lane % 4, register r
// of A holds the bytes 4 t + 16 (r / 2) .. + 3 of row g + 8 (r % 2), register r of B those at 4 t + 16 r of
// column g.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "check_mma_cuda: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(3);
}

enum class Type { f32, tf32, f16, bf16, e4m3, e5m2 };

int bytes_of(Type type) {
  return type == Type::f32 || type == Type::tf32 ? 4 : type == Type::f16 || type == Type::bf16 ? 2 : 1;
}

const char* dtype_of(Type type) { return bytes_of(type) == 4 ? "F32" : bytes_of(type) == 2 ? "I16" : "U8"; }

/// Exponents of the smallest and the largest normal number.
struct Range {
  int low, high;
};
Range range_of(Type type) {
  switch (type) {
    case Type::f16:
    case Type::e5m2: return {-14, 15};
    case Type::e4m3: return {-6, 8};
    default: return {-126, 127};
  }
}

void put(Type type, double value, std::vector<uint8_t>& out) {
  uint32_t bits = 0;
  const float x = static_cast<float>(value);
  switch (type) {
    case Type::f32:
    case Type::tf32: std::memcpy(&bits, &x, 4); break;
    case Type::f16: bits = __half_as_ushort(__float2half_rn(x)); break;
    case Type::bf16: bits = __bfloat16_as_ushort(__float2bfloat16_rn(x)); break;
    case Type::e4m3: bits = __nv_cvt_float_to_fp8(x, __NV_NOSAT, __NV_E4M3); break;
    case Type::e5m2: bits = __nv_cvt_float_to_fp8(x, __NV_NOSAT, __NV_E5M2); break;
  }
  for (int i = 0; i < bytes_of(type); ++i) out.push_back(static_cast<uint8_t>(bits >> (8 * i)));
}

// --- What runs on the GPU: one instruction per matrix, one warp (wgmma: four) per matrix. ---

// What the target of the compilation lacks traps: better no answer than another unit's.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
#define IF_FP8(...) __trap();
#else
#define IF_FP8(...) __VA_ARGS__
#endif
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define IF_WGMMA(...) __trap();
#else
#define IF_WGMMA(...) __VA_ARGS__
#endif
#define IF_MMA(...) __VA_ARGS__

/// Bytes of a row of A (and of Bt): K elements. 16 or 32.
struct Shape {
  int row_bytes;
  int d_bytes;  // of an element of C and D: 4 or 2
};

template <class Multiply>
__global__ void run_mma(const uint8_t* a, const uint8_t* bt, const uint8_t* c, uint8_t* d, Shape shape) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  const size_t matrix = blockIdx.x;
  a += matrix * 16 * shape.row_bytes;
  bt += matrix * 8 * shape.row_bytes;
  c += matrix * 128 * shape.d_bytes;
  d += matrix * 128 * shape.d_bytes;
  uint32_t ra[4], rb[2], rd[4];
  const int registers = shape.row_bytes / 16;  // of B; A has twice as many
  for (int r = 0; r < 4; ++r) {
    if (r < 2 * registers) std::memcpy(&ra[r], a + (g + r % 2 * 8) * shape.row_bytes + 4 * t + r / 2 * 16, 4);
  }
  for (int r = 0; r < 2; ++r) {
    if (r < registers) std::memcpy(&rb[r], bt + g * shape.row_bytes + 4 * t + r * 16, 4);
  }
  // f32: registers 0, 1 in row g, 2, 3 in row g + 8; f16: one register of two in each.
  const int per_row = shape.d_bytes == 4 ? 2 : 1;
  for (int r = 0; r < 2 * per_row; ++r) {
    const int element = (g + r / per_row * 8) * 8 + 2 * t + r % per_row;
    std::memcpy(&rd[r], c + element * shape.d_bytes, 4);
  }
  Multiply::run(rd, ra, rb);
  for (int r = 0; r < 2 * per_row; ++r) {
    const int element = (g + r / per_row * 8) * 8 + 2 * t + r % per_row;
    std::memcpy(d + element * shape.d_bytes, &rd[r], 4);
  }
}

/// Shared memory without swizzle: core matrices of 8 rows x 16 bytes, first along K, then along rows.
template <class Multiply>
__global__ void run_wgmma(const uint8_t* a, const uint8_t* bt, const uint8_t* c, uint8_t* d, Shape shape) {
  __shared__ alignas(128) uint8_t shared_a[64 * 32], shared_b[8 * 32];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, g = thread % 32 / 4, t = thread % 4;
  const size_t matrix = blockIdx.x;
  a += matrix * 64 * 32;
  bt += matrix * 8 * 32;
  c += matrix * 512 * shape.d_bytes;
  d += matrix * 512 * shape.d_bytes;
  for (int i = thread; i < 64 * 32; i += 128) {
    const int row = i / 32, byte = i % 32;
    shared_a[row / 8 * 256 + byte / 16 * 128 + row % 8 * 16 + byte % 16] = a[i];
  }
  for (int i = thread; i < 8 * 32; i += 128) {
    const int row = i / 32, byte = i % 32;
    shared_b[byte / 16 * 128 + row * 16 + byte % 16] = bt[i];
  }
  uint32_t rd[4];
  const int per_row = shape.d_bytes == 4 ? 2 : 1;
  for (int r = 0; r < 2 * per_row; ++r) {
    const int element = (16 * warp + g + r / per_row * 8) * 8 + 2 * t + r % per_row;
    std::memcpy(&rd[r], c + element * shape.d_bytes, 4);
  }
  IF_WGMMA(asm volatile("fence.proxy.async.shared::cta;" ::
                            : "memory");)  // stores, then the tensor core reads
  __syncthreads();
  const auto descriptor = [](const uint8_t* shared) {
    const uint64_t address = static_cast<uint64_t>(__cvta_generic_to_shared(shared)) >> 4 & 0x3fff;
    return address | uint64_t{128 >> 4} << 16 | uint64_t{256 >> 4} << 32;  // along K, along rows
  };
  Multiply::run(rd, descriptor(shared_a), descriptor(shared_b));
  for (int r = 0; r < 2 * per_row; ++r) {
    const int element = (16 * warp + g + r / per_row * 8) * 8 + 2 * t + r % per_row;
    std::memcpy(d + element * shape.d_bytes, &rd[r], 4);
  }
}

// Instructions, by the registers of D, A and B.
#define REGISTERS_4_4_2 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#define REGISTERS_4_2_1 "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
#define REGISTERS_2_4_2 "{%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
#define REGISTERS_2_2_1 "{%0,%1}, {%2,%3}, {%4}, {%0,%1};"
#define D_4 "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
#define D_2 "+r"(d[0]), "+r"(d[1])
#define AB_4_2 "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])
#define AB_2_1 "r"(a[0]), "r"(a[1]), "r"(b[0])
#define MMA(name, guard, instruction, registers, outputs, inputs)                                  \
  struct name {                                                                                    \
    static __device__ void run(uint32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { \
      guard(asm volatile("mma.sync.aligned." instruction " " registers:outputs : inputs);)         \
    }                                                                                              \
  };

#define WGMMA_4 "{%0,%1,%2,%3}, %4, %5, 1, 1, 1"
#define WGMMA_2 "{%0,%1}, %2, %3, 1, 1, 1"
#define NOT_TRANSPOSED ", 0, 0"  // is said of 16-bit types only
#define WGMMA(name, instruction, registers, outputs)                                                \
  struct name {                                                                                     \
    static __device__ void run(uint32_t (&d)[4], uint64_t a, uint64_t b) {                          \
      float f[4];                                                                                   \
      for (int i = 0; i < 4; ++i) f[i] = __uint_as_float(d[i]);                                     \
      IF_WGMMA(asm volatile("wgmma.fence.sync.aligned;" ::                                          \
                                : "memory");                                                        \
               asm volatile("wgmma.mma_async.sync.aligned." instruction " " registers ";"           \
                            : outputs                                                               \
                            : "l"(a), "l"(b)                                                        \
                            : "memory");                                                            \
               asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" :: \
                                : "memory");)                                                       \
      for (int i = 0; i < 4; ++i) d[i] = __float_as_uint(f[i]);                                     \
    }                                                                                               \
  };
#define F_4 "+f"(f[0]), "+f"(f[1]), "+f"(f[2]), "+f"(f[3])
#define F_2 "+r"(reinterpret_cast<uint32_t&>(f[0])), "+r"(reinterpret_cast<uint32_t&>(f[1]))

MMA(Bf16K16, IF_MMA, "m16n8k16.row.col.f32.bf16.bf16.f32", REGISTERS_4_4_2, D_4, AB_4_2)
MMA(Bf16K8, IF_MMA, "m16n8k8.row.col.f32.bf16.bf16.f32", REGISTERS_4_2_1, D_4, AB_2_1)
MMA(F16K16, IF_MMA, "m16n8k16.row.col.f32.f16.f16.f32", REGISTERS_4_4_2, D_4, AB_4_2)
MMA(F16K8, IF_MMA, "m16n8k8.row.col.f32.f16.f16.f32", REGISTERS_4_2_1, D_4, AB_2_1)
MMA(F16K16ToF16, IF_MMA, "m16n8k16.row.col.f16.f16.f16.f16", REGISTERS_2_4_2, D_2, AB_4_2)
MMA(F16K8ToF16, IF_MMA, "m16n8k8.row.col.f16.f16.f16.f16", REGISTERS_2_2_1, D_2, AB_2_1)
MMA(Tf32K8, IF_MMA, "m16n8k8.row.col.f32.tf32.tf32.f32", REGISTERS_4_4_2, D_4, AB_4_2)
MMA(Tf32K4, IF_MMA, "m16n8k4.row.col.f32.tf32.tf32.f32", REGISTERS_4_2_1, D_4, AB_2_1)
#define MMA_FP8(name, a, b)                                                                         \
  MMA(name##K32, IF_FP8, "m16n8k32.row.col.f32." a "." b ".f32", REGISTERS_4_4_2, D_4, AB_4_2)      \
  MMA(name##K16, IF_FP8, "m16n8k16.row.col.f32." a "." b ".f32", REGISTERS_4_2_1, D_4, AB_2_1)      \
  MMA(name##K32ToF16, IF_FP8, "m16n8k32.row.col.f16." a "." b ".f16", REGISTERS_2_4_2, D_2, AB_4_2) \
  MMA(name##K16ToF16, IF_FP8, "m16n8k16.row.col.f16." a "." b ".f16", REGISTERS_2_2_1, D_2, AB_2_1) \
  WGMMA(Wgmma##name, "m64n8k32.f32." a "." b, WGMMA_4, F_4)                                         \
  WGMMA(Wgmma##name##ToF16, "m64n8k32.f16." a "." b, WGMMA_2, F_2)
MMA_FP8(E4m3, "e4m3", "e4m3")
MMA_FP8(E5m2, "e5m2", "e5m2")
MMA_FP8(E4m3E5m2, "e4m3", "e5m2")
MMA_FP8(E5m2E4m3, "e5m2", "e4m3")
WGMMA(WgmmaBf16, "m64n8k16.f32.bf16.bf16", WGMMA_4 NOT_TRANSPOSED, F_4)
WGMMA(WgmmaF16, "m64n8k16.f32.f16.f16", WGMMA_4 NOT_TRANSPOSED, F_4)
WGMMA(WgmmaF16ToF16, "m64n8k16.f16.f16.f16", WGMMA_2 NOT_TRANSPOSED, F_2)
WGMMA(WgmmaTf32, "m64n8k8.f32.tf32.tf32", WGMMA_4, F_4)

// --- The list of instructions. ---

using Kernel = void (*)(const uint8_t*, const uint8_t*, const uint8_t*, uint8_t*, Shape);

struct Instruction {
  const char* name;  // after "UNIT."
  int capability;    // the least that has it; 90 for wgmma: that one only
  int m, k;          // n is 8
  Type a, b, d;
  Kernel kernel;

  bool is_wgmma() const { return m == 64; }
};

#define FP8_ROWS(name, text_a, text_b, a, b)                                                                \
  {"mma.m16n8k32.f32." text_a "." text_b ".f32", 89, 16, 32, a, b, Type::f32, run_mma<name##K32>},          \
      {"mma.m16n8k16.f32." text_a "." text_b ".f32", 89, 16, 16, a, b, Type::f32, run_mma<name##K16>},      \
      {"mma.m16n8k32.f16." text_a "." text_b ".f16", 89, 16, 32, a, b, Type::f16, run_mma<name##K32ToF16>}, \
      {"mma.m16n8k16.f16." text_a "." text_b ".f16", 89, 16, 16, a, b, Type::f16, run_mma<name##K16ToF16>}, \
      {"wgmma.m64n8k32.f32." text_a "." text_b, 90, 64, 32, a, b, Type::f32, run_wgmma<Wgmma##name>}, {     \
    "wgmma.m64n8k32.f16." text_a "." text_b, 90, 64, 32, a, b, Type::f16, run_wgmma<Wgmma##name##ToF16>     \
  }

const Instruction kInstructions[] = {
    {"mma.m16n8k16.f32.bf16.bf16.f32", 80, 16, 16, Type::bf16, Type::bf16, Type::f32, run_mma<Bf16K16>},
    {"mma.m16n8k8.f32.bf16.bf16.f32", 80, 16, 8, Type::bf16, Type::bf16, Type::f32, run_mma<Bf16K8>},
    {"mma.m16n8k16.f32.f16.f16.f32", 80, 16, 16, Type::f16, Type::f16, Type::f32, run_mma<F16K16>},
    {"mma.m16n8k8.f32.f16.f16.f32", 80, 16, 8, Type::f16, Type::f16, Type::f32, run_mma<F16K8>},
    {"mma.m16n8k16.f16.f16.f16.f16", 80, 16, 16, Type::f16, Type::f16, Type::f16, run_mma<F16K16ToF16>},
    {"mma.m16n8k8.f16.f16.f16.f16", 80, 16, 8, Type::f16, Type::f16, Type::f16, run_mma<F16K8ToF16>},
    {"mma.m16n8k8.f32.tf32.tf32.f32", 80, 16, 8, Type::tf32, Type::tf32, Type::f32, run_mma<Tf32K8>},
    {"mma.m16n8k4.f32.tf32.tf32.f32", 80, 16, 4, Type::tf32, Type::tf32, Type::f32, run_mma<Tf32K4>},
    {"wgmma.m64n8k16.f32.bf16.bf16", 90, 64, 16, Type::bf16, Type::bf16, Type::f32, run_wgmma<WgmmaBf16>},
    {"wgmma.m64n8k16.f32.f16.f16", 90, 64, 16, Type::f16, Type::f16, Type::f32, run_wgmma<WgmmaF16>},
    {"wgmma.m64n8k16.f16.f16.f16", 90, 64, 16, Type::f16, Type::f16, Type::f16, run_wgmma<WgmmaF16ToF16>},
    {"wgmma.m64n8k8.f32.tf32.tf32", 90, 64, 8, Type::tf32, Type::tf32, Type::f32, run_wgmma<WgmmaTf32>},
    FP8_ROWS(E4m3, "e4m3", "e4m3", Type::e4m3, Type::e4m3),
    FP8_ROWS(E5m2, "e5m2", "e5m2", Type::e5m2, Type::e5m2),
    FP8_ROWS(E4m3E5m2, "e4m3", "e5m2", Type::e4m3, Type::e5m2),
    FP8_ROWS(E5m2E4m3, "e5m2", "e4m3", Type::e5m2, Type::e4m3),
};

/// The unit's name in `greta info --units`; "" for one that it does not list.
std::string unit_of(int capability) {
  if (capability == 80 || capability == 86 || capability == 87) return "ampere";
  if (capability == 89) return "ada";
  if (capability == 90) return "hopper";
  return capability >= 100 && capability < 130 ? "blackwell" : "";
}

// --- Inputs. ---

constexpr const char* kDistributions[] = {"random", "cancelling", "tiny",  "wide",
                                          "sparse", "special",    "uneven"};
constexpr int kOutputs = 25600;  // of each distribution: seven make 179,200 per instruction

class Inputs {
 public:
  explicit Inputs(uint64_t seed) : random_(seed) {}

  /// `rows` of `k` values of A (sign = 1) or of B (sign = -1, where neighbours cancel).
  void fill(const std::string& distribution, Type type, int rows, int k, bool is_b,
            std::vector<uint8_t>& out) {
    for (int row = 0; row < rows; ++row) {
      double before = 0;
      for (int i = 0; i < k; ++i) {
        double x = draw(distribution, type);
        // Every fourth product is one of zero, or of a subnormal, with a number near the end of the range.
        if (distribution == "uneven" && i % 4 == 3) x = is_b ? large(type) : zero_or_subnormal(type);
        // Products 2 i and 2 i + 1 differ in the last place or not at all.
        if (distribution == "cancelling" && i % 2 == 1) x = is_b ? -before * (1 + nudge()) : before;
        put(type, x, out);
        before = x;
      }
    }
  }

  void fill_sum(const std::string& distribution, const Instruction& row, int count,
                std::vector<uint8_t>& out) {
    for (int i = 0; i < count; ++i) {
      double x = draw(distribution, row.d);
      if (distribution == "cancelling") x *= std::exp2(-12);
      if (distribution == "tiny" || distribution == "wide") {  // of the size of the products
        x = draw(distribution, row.a) * draw(distribution, row.b);
      }
      put(row.d, x, out);
    }
  }

 private:
  double draw(const std::string& distribution, Type type) {
    const Range range = range_of(type);
    const double x = normal_(random_);
    if (distribution == "tiny") return std::ldexp(x, range.low + 1);  // many subnormals
    if (distribution == "wide") {
      const int low = std::max(range.low, -30), high = std::min(range.high - 1, 30);
      return std::ldexp(x / 4, std::uniform_int_distribution<int>(low, high)(random_));
    }
    if (distribution == "uneven") return std::ldexp(x, -2);
    if (distribution == "special") return draw_special(range, x);
    if (distribution == "sparse" && std::uniform_int_distribution<int>(0, 3)(random_) != 0) return 0;
    return x;
  }

  double large(Type type) {
    const int high = std::min(range_of(type).high, 127);
    return std::ldexp(1.25, high - std::uniform_int_distribution<int>(0, 8)(random_));
  }

  double zero_or_subnormal(Type type) {
    const double subnormal = std::ldexp(normal_(random_), range_of(type).low - 2);
    return std::uniform_int_distribution<int>(0, 1)(random_) == 0 ? 0 : subnormal;
  }

  /// Mostly ordinary; zeros of both signs, infinity (e4m3: NaN), NaN, numbers near the ends of the range.
  double draw_special(const Range& range, double x) {
    const int high = std::min(range.high, 126), low = std::max(range.low, -126);
    switch (std::uniform_int_distribution<int>(0, 159)(random_)) {
      case 0: return -0.0;
      case 1: return HUGE_VAL;
      case 2: return -HUGE_VAL;
      case 3: return NAN;
      case 4:
      case 5: return std::ldexp(x, high);
      case 6:
      case 7: return std::ldexp(x, high - 2);
      case 8: return std::ldexp(x, low);
      default: return x;
    }
  }

  double nudge() { return std::ldexp(std::uniform_int_distribution<int>(-1, 1)(random_), -8); }

  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
};

// --- Running and writing. ---

/// Bytes on the GPU, freed at the end.
class DeviceBytes {
 public:
  explicit DeviceBytes(const std::vector<uint8_t>& bytes) : size_(bytes.size()) {
    check(cudaMalloc(&data_, size_), "cudaMalloc");
    check(cudaMemcpy(data_, bytes.data(), size_, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceBytes() { cudaFree(data_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  uint8_t* data() const { return data_; }
  void read(std::vector<uint8_t>& bytes) const {
    check(cudaMemcpy(bytes.data(), data_, size_, cudaMemcpyDeviceToHost), "cudaMemcpy");
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_;
};

struct Tensor {
  std::string name;
  const char* dtype;
  int count, rows, columns;
  std::vector<uint8_t> bytes;
};

void run(const std::string& unit, const Instruction& row, const std::string& distribution, Inputs& inputs,
         std::vector<Tensor>& tensors) {
  const int count = kOutputs / (row.m * 8);
  const std::string prefix = unit + "." + row.name + "/" + distribution + "/";
  Tensor a{prefix + "A", dtype_of(row.a), count, row.m, row.k, {}};
  Tensor bt{prefix + "Bt", dtype_of(row.b), count, 8, row.k, {}};
  Tensor c{prefix + "C", dtype_of(row.d), count, row.m, 8, {}};
  inputs.fill(distribution, row.a, count * row.m, row.k, false, a.bytes);
  inputs.fill(distribution, row.b, count * 8, row.k, true, bt.bytes);
  inputs.fill_sum(distribution, row, count * row.m * 8, c.bytes);
  Tensor d{prefix + "D_gpu", c.dtype, count, row.m, 8, std::vector<uint8_t>(c.bytes.size(), 0xa5)};  // poison

  const DeviceBytes gpu_a(a.bytes), gpu_bt(bt.bytes), gpu_c(c.bytes), gpu_d(d.bytes);
  const Shape shape{row.k * bytes_of(row.a), bytes_of(row.d)};
  row.kernel<<<count, row.is_wgmma() ? 128 : 32>>>(gpu_a.data(), gpu_bt.data(), gpu_c.data(), gpu_d.data(),
                                                   shape);
  check(cudaGetLastError(), row.name);
  check(cudaDeviceSynchronize(), row.name);
  gpu_d.read(d.bytes);
  for (Tensor* tensor : {&a, &bt, &c, &d}) tensors.push_back(std::move(*tensor));
}

void write_safetensors(const char* path, const std::vector<Tensor>& tensors) {
  std::string header = "{";
  size_t offset = 0;
  for (const Tensor& tensor : tensors) {
    char entry[512];
    std::snprintf(entry, sizeof entry,
                  "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%d,%d,%d],\"data_offsets\":[%zu,%zu]}",
                  offset == 0 ? "" : ",", tensor.name.c_str(), tensor.dtype, tensor.count, tensor.rows,
                  tensor.columns, offset, offset + tensor.bytes.size());
    header += entry;
    offset += tensor.bytes.size();
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::ofstream file(path, std::ios::binary);
  const uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), 8);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const Tensor& tensor : tensors) {
    file.write(reinterpret_cast<const char*>(tensor.bytes.data()),
               static_cast<std::streamsize>(tensor.bytes.size()));
  }
  if (!file.flush()) {
    std::fprintf(stderr, "check_mma_cuda: %s could not be written; is there room, and may you write there?\n",
                 path);
    std::exit(2);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: check_mma_cuda OUT.safetensors [SEED]\n");
    return 2;
  }
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "no GPU");
  const int capability = device.major * 10 + device.minor;
  const std::string unit = unit_of(capability);
  if (unit.empty()) {
    std::fprintf(stderr, "check_mma_cuda: %s has compute capability %d.%d; 8.0 to 12.x are known\n",
                 device.name, device.major, device.minor);
    return 2;
  }
  Inputs inputs(argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 1);
  std::vector<Tensor> tensors;
  std::fprintf(stderr, "%s: %s\n", device.name, unit.c_str());
  for (const Instruction& row : kInstructions) {
    if (capability < row.capability || (row.is_wgmma() && capability != 90)) continue;
    if (capability >= 100 && bytes_of(row.a) == 1) continue;  // GRETA's table has no fp8 of Blackwell
    for (const char* distribution : kDistributions) run(unit, row, distribution, inputs, tensors);
    std::printf("%s.%s\n", unit.c_str(), row.name);
  }
  write_safetensors(argv[1], tensors);
}
