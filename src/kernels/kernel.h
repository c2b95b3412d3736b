#pragma once
// What a kernel is: a plain function over views, registered in a table with its op, weight type, route, shape
// and ISA. No globals, no environment; no allocation either, but in simulated devices (sim/).
//
// The contract (docs/architecture.md, "Kernels and bitwise invariance"): for one op, route and weight type,
// every output element has one fixed order of roundings, whatever the number of rows S, the thread count, the
// position in the batch, GEMM or GEMV, and the ISA. Tests demand equality of bits.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/aligned.h"
#include "base/compiler.h"
#include "base/rounding.h"
#include "base/thread_pool.h"
#include "kernels/pack.h"
#include "kernels/views.h"
#include "model/tensor_type.h"

namespace greta {

enum class OpKind {
  // out [S, rope_dims]: cosines and sines for position + row, times params.scale; of adjacent pairs (cos,
  // sin) for each, of halves all cosines, then all sines.
  rope_table,
  // in0 token ids (i32 [S, 1]), weight; out [S, n_embd], times params.scale.
  embed,
  // in0 f32 [S, K]; out "activation rows" of kernels/pack.h (q8_block32 or bf16).
  quantize,
  // in0 [S, heads * K], in1 the weight vector [1, K]; out as in0, each head by itself; params.eps.
  rms_norm,
  // in0 activations in the kernel's format, weight [N, K], bias;
  // out [S, N] = (bias + W x) * params.scale, then params.cap: sums begin with the bias.
  matmul,
  // in0 [S, heads * head_dim], in1 rope table; out as in0; params.rope_adjacent, rope_first.
  rope,
  // in0 k_rope [S, kv_dim], in1 v [S, kv_dim] or less: then zeros lie behind each head's; to cache slots
  // position .. position + S - 1.
  kv_write,
  // in0 q_rope, cache; out [S * n_head, n_pos]: scores * params.scale, then params.cap; -inf at positions >
  // the own one and <= own - window.
  qk,
  // in0 [S * n_head, n_pos]; out as in0. With a bias: each head's sink, a score that is only in the sum.
  softmax,
  // in0 softmax, cache; out [S, n_head * head_dim]; reads what qk does not mask.
  pv,
  // in0 q_rope, cache, scratch; out as pv: the same bits as qk, softmax, pv in turn.
  attention,
  add,       // in0 + params.scale * in1, rounded once
  silu_mul,  // silu(in0) * in1
  gelu_mul,  // gelu(in0) * in1, the tanh form
  // in0 scores [S, n_expert], bias of each; out [S, used]: the numbers of the highest sums of both, as f32,
  // the highest first; of equal ones the lower number; NaN is below all; params.groups.
  choose_experts,
  // in0 scores [S, n_expert], in1 numbers [S, used]; out as in1: the softmax of the scores, or with
  // params.sum_to_1 of the chosen ones; with params.are_probabilities the scores themselves, with sum_to_1
  // divided by their sum; times params.scale.
  expert_weights,
  // in0 activations in the kernel's format, [S, K] or for each chosen expert [S, used * K]; in1 numbers [S,
  // used]; weight: the first of params.experts matrices [N, K], bias of each; scratch; out [S, used * N]:
  // each chosen expert's product, with the bits that matmul gives by its matrix alone. Without in1 each
  // matrix has a slice of the row, [S, experts * width], of which it reads the first K.
  expert_matmul,
  // in0 [S, used * N], in1 weights [S, used]; out [S, N]: sums in the order of the chosen, from 0, by FMAs.
  combine_experts,
  sigmoid,  // of each
  // in0 [S, heads * a], in1 [S, heads * b]; out [S, heads * (b + rope_dims)]: of each of params.n_head heads
  // all of in1's, then the last rope_dims of in0's.
  join_heads,
  sigmoid_mul,     // in0 [S, N] * sigmoid(in1 [S, 1])
  swiglu_oai_mul,  // in0 and in1 within +-7, in0 from above alone: in0 sigmoid(1.702 in0) (in1 + 1)
};

/// Partial sums of a row's sum (rms_norm, softmax), part of the contract: element i goes to sum i mod this,
/// and the fixed tree adds them up.
inline constexpr int kSumLanes = 16;

enum class Route { vector, matrix };
enum class Shape { gemm, gemv };
enum class Isa { scalar, avx2, avx512 };

std::string_view name(OpKind op);
std::string_view name(Route route);
std::string_view name(Shape shape);
std::string_view name(Isa isa);

/// What choose_experts has room for where scores are not compared as they are.
inline constexpr int64_t kMostBiasedExperts = 4096, kMostExpertGroups = 256;

/// What the op that ran says of itself:
/// filled by the kernel, read by record ops, never copied from a request.
struct Launch {
  const char* kernel = nullptr;  // the name compiled into the kernel that ran
  uint32_t count = 0;            // how often it has run since the buffer was made
};

struct KernelInfo;
namespace gpu {
struct Kernel;
}

/// Of an op. Kernels read two at most; an action in a kernel's place may read more.
inline constexpr size_t kMaxInputs = 4;

struct KernelArgs {
  std::array<View, kMaxInputs> in{};
  View out{};
  const PackedWeight* weight = nullptr;  // of matmul, expert_matmul and embed
  const float* bias =
      nullptr;  // of matmul: one per row of the weight, padded to whole panels, of each expert;
                // of softmax and attention: each head's sink; of choose_experts: see there; or none
  KvView cache{};
  int64_t position = 0;    // of the block's row 0
  int64_t block_rows = 1;  // S of the block (a view may hold fewer rows: the last one, for logits)
  OpParams params{};
  View scratch{};  // one row per thread: attention_scratch_floats(), or expert_scratch_floats()
  Launch* launch = nullptr;
  int64_t* taken = nullptr;  // pieces of the work that threads took beyond their own share; 0 before the op
  const KernelInfo* kernel = nullptr;  // the entry that runs, for kernels that serve several (sim/matmul.h)
};

/// Floats of scratch that a thread needs for attention over n_pos positions. A kernel makes do with one row
/// of n_pos rounded up to 16, but then handles one query at a time.
constexpr int64_t attention_scratch_floats(int64_t n_pos) { return 8 * round_up(n_pos, 16); }

using KernelFn = void (*)(const KernelArgs& args, Part part);

struct KernelInfo {
  std::string name;  // such as cpu.avx512vnni.gemm.q4_1; unique
  OpKind op;
  std::optional<TensorType> weight_type = {};  // of matmul, expert_matmul and embed
  std::optional<Route> route = {};             // of matmul and expert_matmul
  std::optional<Shape> shape = {};             // of these; a gemv kernel takes exactly one row
  Isa isa;
  Roundings roundings;
  KernelFn run;
  std::string needs;    // CPU features, for people: "avx512f avx512bw avx512vnni"
  std::string missing;  // the ones that this machine lacks; empty when the kernel can run here
  // Or sim:<unit>: then any ISA and weight type, f32 activations in; or cuda, emu, and cuda:<unit>,
  // emu:<unit> where the unit matters: then any ISA.
  std::string device = "cpu";
  const gpu::Kernel* on_device = nullptr;         // of cuda, hip, emu; `run` makes the same bits on the host
  std::shared_ptr<const KernelInfo> by_one = {};  // of expert_matmul: the matmul by one expert's matrix
};

/// Whether a kernel of this op multiplies by weights, and so has a route and a shape.
constexpr bool is_matmul(OpKind op) { return op == OpKind::matmul || op == OpKind::expert_matmul; }

/// The CPU's kernels, whether this machine can run them or not.
std::span<const KernelInfo> cpu_kernels();

/// The widest ISA whose kernels this machine can run.
Isa best_isa();

/// Whether only its projections are a device's: all other ops run on the CPU's kernels.
inline bool is_simulated(std::string_view device) { return device.starts_with("sim:"); }

/// Whether the kernels of `own` run on `device`: the same, or any of them, as "cuda" of "cuda:h100".
inline bool serves(std::string_view own, std::string_view device) {
  return device.starts_with(own) && (device.size() == own.size() || device[own.size()] == ':');
}

/// What to look for in the table. Fields that an op does not have stay empty.
struct KernelQuery {
  OpKind op;
  Isa isa;
  std::optional<TensorType> weight_type = {};
  std::optional<Route> route = {};
  std::optional<Shape> shape = {};
  Format activation = Format::f32;  // of row-wise ops: the format to make
  std::string_view device = "cpu";  // as KernelInfo has it; sim:<unit> of a matmul only
  Format input = Format::bf16;      // of a simulated matrix unit: what it multiplies
};

/// The kernel of `table` that answers the query,
/// or nullptr with the reason in `why` (no such kernel, or features missing).
const KernelInfo* find_kernel(std::span<const KernelInfo> table, const KernelQuery& query, std::string* why);

}  // namespace greta
