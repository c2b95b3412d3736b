#include "kernels/gpu/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "kernels/gpu/shapes.h"
#include "units/instruction.h"

namespace greta::gpu {
namespace {

constexpr int64_t over(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

// What a work-group has of each op.
Grid a_row(const Args& args, const Chip&) { return {args.out.rows, 1, kRowThreads}; }
/// Few rows are divided, so that all processors have some.
int64_t shares(int64_t rows, int64_t n, int64_t groups) {
  return std::clamp<int64_t>(groups / rows, 1, over(n, kRowChunk));
}
Grid a_share(const Args& args, const Chip& chip) {
  constexpr int kGroups = 8;  // of a processor
  return {args.out.rows, shares(args.out.rows, args.in[0].cols, kGroups * chip.processors), kRowThreads};
}
Grid a_norm(const Args& args, const Chip& chip) {
  const int64_t n = args.in[1].cols, heads = args.in[0].rows * (args.in[0].cols / n);
  const bool whole = args.in[0].cols == n;
  return {heads, whole ? shares(heads, n, chip.processors / 16) : 1, kNormThreads};
}
Grid a_head(const Args& args, const Chip&) {
  return {args.in[0].rows * (args.in[0].cols / args.params.head_dim), 1, kRowThreads};
}
Grid a_cached_head(const Args& args, const Chip&) {
  return {args.in[0].rows * args.cache.n_head_kv, 1, kRowThreads};
}
Grid a_query(const Args& args, const Chip&) {
  const int64_t rows =
      args.in[0].cols == args.params.n_head * args.cache.head_dim ? args.in[0].rows : args.out.rows;
  return {rows * args.params.n_head, 1, kRowThreads};
}
int64_t resident_panels(const Args& args, const Chip& chip) {
  return int64_t{chip.processors} * GemvShape(args.weight.type, chip.wave).groups(chip.shared);
}
Grid a_panel(const Args& args, const Chip& chip) {
  const GemvShape shape(args.weight.type, chip.wave);
  return {1, over(args.weight.n, kPanelRows), (shape.waves + 1) * chip.wave, shape.bytes()};
}
Grid a_step(const Args& args, const Chip& chip) {
  return {args.params.n_head, 1, kRowThreads, AttentionStep(chip.wave).bytes(args.cache.capacity)};
}
Grid some_positions(const Args& args, const Chip& chip) {
  constexpr int kGroups = 3;  // of a processor
  const KvView& cache = args.cache;
  return {cache.n_head_kv,
          std::clamp<int64_t>(kGroups * chip.processors / cache.n_head_kv, 1,
                              over(cache.capacity, AttentionSplit::kLeast)),
          kRowThreads,
          AttentionSplit(chip.wave).scores_bytes(static_cast<int>(cache.head_dim),
                                                 static_cast<int>(args.params.n_head / cache.n_head_kv))};
}
Grid some_heads(const Args& args, const Chip& chip) {
  constexpr int64_t kDims = AttentionSplit::kDims;
  const AttentionSplit shape(chip.wave);
  const KvView& cache = args.cache;
  const int capacity = static_cast<int>(cache.capacity),
            group = static_cast<int>(args.params.n_head / cache.n_head_kv);
  return {cache.n_head_kv * over(cache.head_dim, kDims), over(group, shape.heads(capacity, group)),
          kRowThreads, shape.mix_bytes(capacity, group)};
}
template <bool kMany>
Grid some_queries(const Args& args, const Chip& chip) {
  const AttentionTile shape(chip.wave, kMany);
  const int64_t queries = args.in[0].rows * args.params.n_head / args.cache.n_head_kv;
  const int64_t fit = args.scratch_bytes / shape.scratch_bytes(args.cache.capacity);
  return {1, std::min(args.cache.n_head_kv * shape.tiles(queries), fit), shape.threads,
          shape.bytes(static_cast<int>(args.cache.head_dim))};
}
Grid a_tile(const Args& args, const Chip& chip) {
  const Int8GemmShape shape(args.weight.type, chip.wave);
  return {over(args.out.rows, shape.tokens()), over(args.weight.n, kPanelRows * shape.kPanels),
          shape.kWaves * chip.wave, shape.bytes()};
}
int64_t a_processor(const Args&, const Chip& chip) { return chip.processors; }
Grid a_half_tile(const Args& args, const Chip& chip) {
  const HalfGemmShape shape(chip.wave);
  return {1, over(args.out.rows, shape.tokens) * over(args.weight.n, kPanelRows * shape.panels),
          shape.waves() * chip.wave, shape.bytes()};
}
template <int kTokens>
Grid panels_and_tokens(const Args& args, const Chip&) {
  return {over(args.weight.n, kPanelRows * (kVectorThreads / 16)), over(args.out.rows, kTokens),
          kVectorThreads};
}

constexpr Roundings kToBlocks{.output = Format::q8_block32}, kOfBlocks{.activation = Format::q8_block32},
    kToBf16{.output = Format::bf16}, kToF16{.output = Format::f16},
    kOfBf16{.activation = Format::bf16, .weight = Format::bf16, .slice = kSlice},
    kOfF16{.activation = Format::f16, .weight = Format::f16, .slice = kSlice};

/// What follows from a kernel's name: `op` is the name up to its weight type, if it has one.
struct Kind {
  std::string_view prefix, shown;  // "vector_gemv_", "vector.gemv"
  OpKind op;
  Grid (*grid)(const Args& args, const Chip& chip);
  std::optional<Route> route = {};
  std::optional<Shape> shape = {};
  Roundings roundings = {};
};

const std::array kKinds{
    Kind{"rope_table", "rope_table", OpKind::rope_table, a_row},
    Kind{"quantize_q8", "quantize.q8_block32", OpKind::quantize, a_share, {}, {}, kToBlocks},
    Kind{"quantize_bf16", "quantize.bf16", OpKind::quantize, a_share, {}, {}, kToBf16},
    Kind{"quantize_f16", "quantize.f16", OpKind::quantize, a_share, {}, {}, kToF16},
    Kind{"rms_norm", "rms_norm", OpKind::rms_norm, a_norm},
    Kind{"rms_norm_q8", "rms_norm.q8_block32", OpKind::rms_norm, a_norm, {}, {}, kToBlocks},
    Kind{"rms_norm_bf16", "rms_norm.bf16", OpKind::rms_norm, a_norm, {}, {}, kToBf16},
    Kind{"rms_norm_f16", "rms_norm.f16", OpKind::rms_norm, a_norm, {}, {}, kToF16},
    Kind{"rope", "rope", OpKind::rope, a_head},
    Kind{"kv_write", "kv_write", OpKind::kv_write, a_cached_head},
    Kind{"qk", "qk", OpKind::qk, a_query},
    Kind{"softmax", "softmax", OpKind::softmax, a_row},
    Kind{"pv", "pv", OpKind::pv, a_query},
    Kind{"attention", "attention", OpKind::attention, a_query},
    Kind{"attention_q8", "attention.q8_block32", OpKind::attention, a_query, {}, {}, kToBlocks},
    Kind{"attention_bf16", "attention.bf16", OpKind::attention, a_query, {}, {}, kToBf16},
    Kind{"attention_f16", "attention.f16", OpKind::attention, a_query, {}, {}, kToF16},
    Kind{"add", "add", OpKind::add, a_share},
    Kind{"silu_mul", "silu_mul", OpKind::silu_mul, a_share},
    Kind{"silu_mul_q8", "silu_mul.q8_block32", OpKind::silu_mul, a_share, {}, {}, kToBlocks},
    Kind{"silu_mul_bf16", "silu_mul.bf16", OpKind::silu_mul, a_share, {}, {}, kToBf16},
    Kind{"silu_mul_f16", "silu_mul.f16", OpKind::silu_mul, a_share, {}, {}, kToF16},
    Kind{"gelu_mul", "gelu_mul", OpKind::gelu_mul, a_share},
    Kind{"gelu_mul_q8", "gelu_mul.q8_block32", OpKind::gelu_mul, a_share, {}, {}, kToBlocks},
    Kind{"gelu_mul_bf16", "gelu_mul.bf16", OpKind::gelu_mul, a_share, {}, {}, kToBf16},
    Kind{"gelu_mul_f16", "gelu_mul.f16", OpKind::gelu_mul, a_share, {}, {}, kToF16},
};

/// What does several ops at once, and so stands in no plan; with the last one's kind and work-groups.
const std::array kJoinedKinds{
    Kind{"add_norm", "add+rms_norm", OpKind::rms_norm, a_norm},
    Kind{"step_attention", "rope+rope+kv_write+attention", OpKind::attention, a_step},
    Kind{"split_scores", "rope+rope+kv_write+scores", OpKind::attention, some_positions},
    Kind{"split_mix", "softmax+pv", OpKind::attention, some_heads},
    Kind{"tile_attention", "attention.tile", OpKind::attention, some_queries<false>},
    Kind{"tile_attention_many", "attention.tile", OpKind::attention, some_queries<true>},
};

/// Of 16-bit weights, whose products are the card's matrix unit's.
const std::array kHalfKinds{
    Kind{"gemv_bf16", "gemv", OpKind::matmul, a_panel, Route::matrix, Shape::gemv, kOfBf16},
    Kind{"gemm_bf16", "gemm", OpKind::matmul, a_half_tile, Route::matrix, Shape::gemm, kOfBf16},
    Kind{"gemv_f16", "gemv", OpKind::matmul, a_panel, Route::matrix, Shape::gemv, kOfF16},
    Kind{"gemm_f16", "gemm", OpKind::matmul, a_half_tile, Route::matrix, Shape::gemm, kOfF16},
};

const std::array kTypedKinds{
    Kind{"embed_", "embed", OpKind::embed, a_row},
    Kind{"gemv_", "gemv", OpKind::matmul, a_panel, Route::matrix, Shape::gemv, kOfBlocks},
    Kind{"gemm_", "gemm", OpKind::matmul, a_tile, Route::matrix, Shape::gemm, kOfBlocks},
    Kind{"vector_gemv_", "vector.gemv", OpKind::matmul, panels_and_tokens<1>, Route::vector, Shape::gemv},
    Kind{"vector_gemm_", "vector.gemm", OpKind::matmul, panels_and_tokens<kVectorTokens>, Route::vector,
         Shape::gemm},
};

struct Named {
  KernelId id;
  const char* symbol;  // "greta_" and the name
};

constexpr Named kNamed[] = {
#define GRETA_GPU_X(name, body) {KernelId::name, "greta_" #name},
    GRETA_GPU_KERNELS
#undef GRETA_GPU_X
};

constexpr std::pair<std::string_view, TensorType> kTypeNames[] = {
#define GRETA_GPU_TYPE(type) {#type, TensorType::type},
    GRETA_GPU_TYPES(GRETA_GPU_TYPE)
#undef GRETA_GPU_TYPE
};

Kernel kernel_of(const Named& named) {
  const std::string_view name = std::string_view(named.symbol).substr(6);
  const auto with = [&](const Kind& kind, std::optional<TensorType> type) {
    return Kernel{named.id,
                  named.symbol,
                  kind.shown,
                  kind.op,
                  type,
                  kind.route,
                  kind.shape,
                  kind.roundings,
                  kind.grid,
                  kind.grid == a_panel ? resident_panels : kind.grid == a_half_tile ? a_processor : nullptr};
  };
  for (const Kind& kind : kKinds) {
    if (name == kind.prefix) return with(kind, {});
  }
  for (const Kind& kind : kJoinedKinds) {
    if (name != kind.prefix) continue;
    Kernel joined = with(kind, {});
    joined.in_plans = false;
    return joined;
  }
  for (const Kind& kind : kHalfKinds) {
    if (name == kind.prefix)
      return with(kind, kind.roundings.weight == Format::f16 ? TensorType::f16 : TensorType::bf16);
  }
  for (const Kind& kind : kTypedKinds) {
    for (const auto& [type_name, type] : kTypeNames) {
      if (name.starts_with(kind.prefix) && name.substr(kind.prefix.size()) == type_name)
        return with(kind, type);
    }
  }
  return with(kKinds[0], {});  // not reached: a test asks every name
}

/// The CPU's kernel with the bits of a device's.
const KernelInfo* on_host(const Kernel& kernel) {
  for (const KernelInfo& cpu : cpu_kernels()) {
    if (cpu.op == kernel.op && cpu.weight_type == kernel.type && cpu.route == kernel.route &&
        cpu.shape == kernel.shape && cpu.roundings == kernel.roundings && cpu.missing.empty())
      return &cpu;
  }
  return nullptr;
}

/// What faulty twins and experiments call: the same bits in the host's memory, under the kernel's own name.
/// Of an op that rounds what it makes the host may have the two apart alone: a plan gets them back first
/// (PlanEdit::unfuse).
void run_on_host(const KernelArgs& args, Part part) {
  static const std::vector<const KernelInfo*> equals = [] {
    std::vector<const KernelInfo*> all;
    for (const Kernel& kernel : kernels()) all.push_back(on_host(kernel));
    return all;
  }();
  const KernelInfo* equal = equals[static_cast<size_t>(args.kernel->on_device->id)];
  if (equal == nullptr) fail_machine("{} has no form for the host", args.kernel->name);
  equal->run(args, part);
  if (part.index == 0 && args.launch != nullptr) args.launch->kernel = args.kernel->name.c_str();
}

}  // namespace

std::span<const Kernel> kernels() {
  static const std::vector<Kernel> all = [] {
    std::vector<Kernel> made;
    for (const Named& named : kNamed) made.push_back(kernel_of(named));
    return made;
  }();
  return all;
}

Args args_of(const KernelArgs& args, const std::byte* panels, const int64_t* position) {
  Args of;
  of.in[0] = args.in[0], of.in[1] = args.in[1];
  of.out = args.out;
  of.bias = args.bias;
  of.cache = args.cache;
  of.position = position;
  of.params = args.params;
  if (const PackedWeight* weight = args.weight)
    of.weight = {panels, weight->n, weight->k, weight->panel_bytes, weight->type};
  return of;
}

namespace {

KernelInfo info_of(const Kernel& kernel, const std::string& device, const std::string& missing) {
  std::string name = fmt::format("{}.{}", device, kernel.name);
  std::replace(name.begin(), name.end(), ':', '.');
  if (kernel.type) name += fmt::format(".{}", greta::name(*kernel.type));
  return {.name = name,
          .op = kernel.op,
          .weight_type = kernel.type,
          .route = kernel.route,
          .shape = kernel.shape,
          .isa = Isa::scalar,
          .roundings = kernel.roundings,
          .run = run_on_host,
          .needs = "",
          .missing = missing,
          .device = device,
          .on_device = &kernel};
}

bool is_units(const Kernel& kernel) { return kernel.roundings.slice > 0; }

}  // namespace

std::vector<KernelInfo> kernel_infos(const std::string& device, std::span<const Unit> units,
                                     KernelFn unit_run, const std::string& missing) {
  std::vector<KernelInfo> infos;
  for (const Kernel& kernel : kernels()) {
    if (!kernel.in_plans) continue;
    if (!is_units(kernel)) {
      infos.push_back(info_of(kernel, device, missing));
      continue;
    }
    for (const Unit& unit : units) {
      KernelInfo info = info_of(kernel, fmt::format("{}:{}", device, unit.name), missing);
      info.roundings.unit = &units::find_instruction(kernel.type == TensorType::f16 ? unit.f16 : unit.bf16);
      info.run = unit_run;
      infos.push_back(std::move(info));
    }
  }
  return infos;
}

}  // namespace greta::gpu
