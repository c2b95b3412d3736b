// The CPU's table of kernels: what the ISA builds offer, with what each needs and what this machine lacks.

#include <fmt/format.h>

#include <vector>

#include "base/cpu_features.h"
#include "kernels/cpu/kernel_list.h"
#include "kernels/expert_matmul.h"
#include "kernels/kernel.h"

namespace greta {
namespace {

void append(std::vector<KernelInfo>& table, const KernelList& list, Isa isa, const std::string& needs) {
  const std::string missing = missing_features(needs);
  for (int i = 0; i < list.count; ++i) {
    const KernelEntry& entry = list.entries[i];
    KernelInfo kernel{.name = entry.name,
                      .op = entry.op,
                      .isa = isa,
                      .roundings = entry.roundings,
                      .run = entry.run,
                      .needs = needs,
                      .missing = missing};
    if (entry.type != kNoType) kernel.weight_type = entry.type;
    if (entry.is_matmul) {
      kernel.route = entry.route;
      kernel.shape = entry.shape;
    }
    table.push_back(std::move(kernel));
  }
}

std::vector<KernelInfo> make_table() {
  using namespace std::string_literals;
  std::vector<KernelInfo> table;
  for (const KernelList* list : {&avx512::kElementwiseKernels, &avx512::kAttentionKernels,
                                 &avx512::kExpertKernels, &avx512::kVectorKernels}) {
    append(table, *list, Isa::avx512, kAvx512Features);
  }
  append(table, avx512::kInt8Kernels, Isa::avx512, kAvx512Features + " avx512vnni"s);
  append(table, avx512::kBf16Kernels, Isa::avx512, kAvx512Features + " avx512bf16"s);
  for (const KernelList* list : {&avx2::kElementwiseKernels, &avx2::kAttentionKernels, &avx2::kExpertKernels,
                                 &avx2::kVectorKernels, &avx2::kInt8Kernels, &avx2::kBf16Kernels}) {
    append(table, *list, Isa::avx2, kAvx2Features);
  }
  for (const KernelList* list :
       {&scalar::kElementwiseKernels, &scalar::kAttentionKernels, &scalar::kExpertKernels,
        &scalar::kVectorKernels, &scalar::kInt8Kernels, &scalar::kBf16Kernels}) {
    append(table, *list, Isa::scalar, "");
  }
  add_expert_kernels(table);
  return table;
}

std::string describe(const KernelQuery& query) {
  if (is_simulated(query.device)) {
    return fmt::format("{} on {}, {} route, {}, {} inputs", name(query.op), query.device,
                       query.route ? name(*query.route) : "any", query.shape ? name(*query.shape) : "any",
                       name(query.input));
  }
  std::string text =
      fmt::format("{} on {}", name(query.op), query.device == "cpu" ? name(query.isa) : query.device);
  if (query.weight_type) text += fmt::format(", {} weights", name(*query.weight_type));
  if (query.route) text += fmt::format(", {} route", name(*query.route));
  if (query.shape) text += fmt::format(", {}", name(*query.shape));
  if (query.activation != Format::f32) text += fmt::format(" to {}", name(query.activation));
  return text;
}

bool answers(const KernelInfo& kernel, const KernelQuery& query) {
  if (!serves(kernel.device, query.device)) return false;
  if (is_simulated(query.device)) {
    const bool input = kernel.route == Route::vector || kernel.roundings.activation == query.input;
    return kernel.op == query.op && kernel.route == query.route && kernel.shape == query.shape && input;
  }
  const bool isa = query.device != "cpu" || kernel.isa == query.isa;
  return kernel.op == query.op && isa && kernel.weight_type == query.weight_type &&
         kernel.route == query.route && kernel.shape == query.shape &&
         (is_matmul(query.op) || kernel.roundings.output == query.activation);
}

}  // namespace

std::string_view name(OpKind op) {
  switch (op) {
    case OpKind::rope_table: return "rope_table";
    case OpKind::embed: return "embed";
    case OpKind::quantize: return "quantize";
    case OpKind::rms_norm: return "rms_norm";
    case OpKind::matmul: return "matmul";
    case OpKind::rope: return "rope";
    case OpKind::kv_write: return "kv_write";
    case OpKind::qk: return "qk";
    case OpKind::softmax: return "softmax";
    case OpKind::pv: return "pv";
    case OpKind::attention: return "attention";
    case OpKind::add: return "add";
    case OpKind::silu_mul: return "silu_mul";
    case OpKind::gelu_mul: return "gelu_mul";
    case OpKind::choose_experts: return "choose_experts";
    case OpKind::expert_weights: return "expert_weights";
    case OpKind::expert_matmul: return "expert_matmul";
    case OpKind::combine_experts: return "combine_experts";
    case OpKind::sigmoid: return "sigmoid";
    case OpKind::join_heads: return "join_heads";
    case OpKind::sigmoid_mul: return "sigmoid_mul";
    case OpKind::swiglu_oai_mul: return "swiglu_oai_mul";
  }
  return "?";
}

std::string_view name(Route route) { return route == Route::vector ? "vector" : "matrix"; }

std::string_view name(Shape shape) { return shape == Shape::gemm ? "gemm" : "gemv"; }

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
  }
  return "?";
}

std::span<const KernelInfo> cpu_kernels() {
  static const std::vector<KernelInfo> table = make_table();
  return table;
}

Isa best_isa() {
  static const Isa best = missing_features(kAvx512Features).empty() ? Isa::avx512
                          : missing_features(kAvx2Features).empty() ? Isa::avx2
                                                                    : Isa::scalar;
  return best;
}

const KernelInfo* find_kernel(std::span<const KernelInfo> table, const KernelQuery& query, std::string* why) {
  for (const KernelInfo& kernel : table) {
    if (!answers(kernel, query)) continue;
    if (kernel.missing.empty()) return &kernel;
    if (why)
      *why = fmt::format("{} needs {}, which this {} lacks", kernel.name, kernel.missing,
                         kernel.on_device == nullptr ? "CPU" : "machine");
    return nullptr;
  }
  if (why) {
    *why = is_matmul(query.op) && query.weight_type == TensorType::f32 && query.route == Route::matrix
               ? "no unit of this CPU multiplies f32 in a matrix: f32 weights have the vector route only"
               : fmt::format("no kernel for {}", describe(query));
  }
  return nullptr;
}

}  // namespace greta
