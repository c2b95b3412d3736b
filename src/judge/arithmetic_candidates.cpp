#include "judge/arithmetic_candidates.h"

#include <set>
#include <tuple>

#include "units/instruction.h"

namespace greta {
namespace {

using enum Format;

Declared rounded(Format activation, Format weight, Format accumulator, Format output) {
  Declared declared;
  declared.roundings.activation = activation;
  declared.roundings.weight = weight;
  declared.roundings.accumulator = accumulator;
  declared.roundings.output = output;
  if (bounds::unit_roundoff(output) > bounds::kU) declared.roundings.between = output;
  return declared;
}

/// A power by __log2f, 2^-22 off, for every pair's angle: 4u of it per pair (ggml-cuda/rope.cu).
Declared with_fast_math(double angle_growth) {
  Declared declared;
  declared.angle_rounding = 4 * bounds::kU;
  declared.roundings.fast_math = true;
  declared.angle_growth = angle_growth;
  return declared;
}

/// Stored as integers with scales.
bool has_codes(TensorType type) {
  return type != TensorType::f32 && type != TensorType::f16 && type != TensorType::bf16;
}

/// Matrix units that cut what f32 sums keep, or flush operands that are subnormal: one of each rule.
std::vector<Declared> of_units(units::Element element, Format format) {
  const auto rule_of = [](const units::Instruction& unit) {
    return std::tuple(unit.rule, unit.group, unit.fraction_bits, unit.output, unit.flush);
  };
  std::set<decltype(rule_of(units::Instruction{}))> known;
  std::vector<Declared> all;
  for (const units::Instruction& unit : units::instructions()) {
    const bool cuts = unit.flush || unit.fraction_bits > 0;
    const bool fits = unit.a == element && unit.b == element && unit.d == units::Element::f32;
    if (!fits || !cuts || unit.rule == units::Rule::two_f16 || !known.insert(rule_of(unit)).second) continue;
    all.push_back(rounded(format, format, Format::f32, Format::f32));
    all.back().roundings.unit = &unit;
  }
  return all;
}

std::vector<Declared> of_products(TensorType weight) {
  std::vector<Declared> all;
  if (has_codes(weight)) {
    // A minimum beside a block of 32 codes: its own sum (base/rounding.h).
    const bool has_sum = weight == TensorType::q4_1 || weight == TensorType::q5_1;
    all.push_back(rounded(q8_block32, f32, f32, f32));
    if (has_sum) {
      all.push_back(rounded(q8_1_sum, f32, f32, f32));
      all.push_back(rounded(q8_1, f32, f32, f32));
      // Both scales are multiplied in f16 (ggml-cuda/vecdotq.cuh, FAST_FP16_AVAILABLE).
      all.push_back(rounded(q8_1_sum, f32, f32, f32));
      all.back().roundings.between = f16;
    } else {
      all.push_back(rounded(q8_0, f32, f32, f32));
      all.push_back(rounded(q8_k, f32, f32, f32));
    }
  }
  for (const Format format : {f16, bf16}) {
    all.push_back(rounded(format, f32, f32, f32));
    all.push_back(rounded(format, format, f32, f32));
    all.push_back(rounded(format, f32, f32, format));
    all.push_back(rounded(format, format, f32, format));
    if (weight == TensorType::f16 && format == f16) all.push_back(rounded(f16, f16, f16, f16));
  }
  for (const auto& [element, format] :
       {std::pair(units::Element::f16, f16), std::pair(units::Element::bf16, bf16)}) {
    for (Declared& declared : of_units(element, format)) all.push_back(std::move(declared));
  }
  return all;
}

/// Of a kernel that makes the scores, too: what queries are rounded to joins what is known of it.
std::vector<Declared> with_queries(std::vector<Declared> all, const Declared& first) {
  all.insert(all.begin(), first);
  std::vector<Declared> crossed;
  for (Declared declared : all) {
    for (const Format queries : {f32, f16, q8_0, bf16}) {
      declared.roundings.activation = queries;
      crossed.push_back(declared);
    }
  }
  return crossed;
}

/// llama.cpp rotates what it quantises: keys by the largest power of two in a head, values by 64
/// (llama-kv-cache.cpp, build_input_k_rot and build_input_v_rot).
std::vector<Declared> of_rotated_caches() {
  std::vector<Declared> all;
  for (const int keys : {64, 128, 256, 0}) {
    for (const int values : {64, 0}) {
      Declared declared;
      declared.roundings.rotation = keys;
      declared.roundings.rotation_of_values = values;
      if (keys + values > 0) all.push_back(declared);
    }
  }
  return all;
}

/// Flash attention: weights, relative to the largest so far, in f32 or rounded, and sums of values in f32 or
/// f16 (ggml-cpu/ops.cpp, one_chunk and tiled; ggml-cuda/fattn-*.cuh; PyTorch's FlashAttentionKernel.cpp).
std::vector<Declared> of_flash_attention(const Declared& first) {
  struct Row {
    Format weights, sums, output;
  };
  constexpr Row kRows[] = {{f16, f32, f32}, {f32, f16, f32},  {f16, f16, f32},  {f16, f32, f16},
                           {f16, f16, f16}, {bf16, f32, f32}, {bf16, f32, bf16}};
  std::vector<Declared> all;
  for (const Row& row : kRows) {
    all.push_back(rounded(f32, f32, row.sums, row.output));
    all.back().roundings.between = row.weights;
  }
  all = with_queries(std::move(all), first);
  for (const Format format : {bf16, f16}) all.push_back(all_in(format));
  return all;
}

std::vector<Declared> of_results() {
  return {rounded(f32, f32, f32, f16), rounded(f32, f32, f32, bf16), rounded(f16, f32, f32, f16),
          rounded(bf16, f32, f32, bf16)};
}

/// Of norms that add the residual, too, those that read the sum as it is in a register (vLLM's layernorm of
/// CPUs, csrc/cpu/layernorm.cpp; PyTorch's form of it, RMSNorm.forward_native).
std::vector<Declared> with_fused_add(std::vector<Declared> all) {
  const size_t count = all.size();
  for (size_t i = 0; i < count; ++i) {
    all.push_back(all[i]);
    all.back().fused_add = true;
  }
  return all;
}

/// RoPE's, each by either reading of YaRN's borders: transformers' configurations say `truncate`, GGUF files
/// don't, and llama.cpp rounds them in all (ggml.c, ggml_rope_yarn_corr_dims).
std::vector<Declared> with_borders(std::vector<Declared> all) {
  std::vector<Declared> crossed = all;
  all.insert(all.begin(), Declared());
  for (Declared declared : all) {
    for (const bool whole : {true, false}) {
      declared.whole_borders = whole;
      crossed.push_back(declared);
    }
  }
  return crossed;
}

/// From the most exact to the least; f32 by the defaults is tried before.
std::vector<Declared> candidates(const KernelClass& kernels) {
  switch (kernels.kind) {
    case StageKind::projection:
    case StageKind::expert_projection:
    case StageKind::head_projection: return of_products(*kernels.weight);
    case StageKind::scores:
    case StageKind::mix:
      return {rounded(f32, f32, f32, f16),   rounded(f32, f32, f32, bf16), rounded(f16, f32, f32, f32),
              rounded(bf16, f32, f32, f32),  rounded(q8_0, f32, f32, f32), rounded(f16, f32, f32, f16),
              rounded(f16, f32, f16, f32),   rounded(f16, f32, f16, f16),  rounded(bf16, f32, f32, bf16),
              rounded(bf16, f32, bf16, bf16)};
    case StageKind::rope:
      return with_borders({with_iterated_angles(), with_fast_math(4 * bounds::kU),
                           rounded(f16, f32, f32, f16), rounded(bf16, f32, f32, bf16)});
    case StageKind::weights:
      return {with_fast_math(0), rounded(f32, f32, f32, f16), rounded(f32, f32, f32, bf16)};
    case StageKind::choice_weights:
    case StageKind::probabilities:
    case StageKind::gated: return {with_fast_math(0), rounded(f32, f32, f32, bf16)};
    case StageKind::combination:
      return {rounded(f32, f32, f32, f16), rounded(f32, f32, f32, bf16), rounded(bf16, f32, bf16, bf16)};
    case StageKind::join:
    case StageKind::choice: return {};
    case StageKind::product:
      return {with_fast_math(0), rounded(f16, f32, f32, f32), rounded(f16, f32, f32, f16),
              rounded(bf16, f32, f32, bf16)};
    case StageKind::norm:
    case StageKind::head_norm: return with_fused_add(of_results());
    case StageKind::embedding:
    case StageKind::sum: return of_results();
    case StageKind::cache: return of_rotated_caches();
  }
  return {};
}

}  // namespace

std::vector<Declared> arithmetic_candidates(const KernelClass& kernels, const Declared& declared) {
  if (kernels.fused && kernels.kind == StageKind::mix && has_coarse_results(declared)) {
    Declared apart = declared;
    apart.roundings.scores = apart.roundings.between = declared.roundings.output;
    return {apart};
  }
  if (kernels.fused && kernels.kind == StageKind::mix) return of_flash_attention(declared);
  if (kernels.fused) return with_queries(candidates(kernels), declared);
  if (!may_be_stored(declared)) return candidates(kernels);
  Declared stored = declared;
  stored.roundings.activation = q8_0_stored;
  return {stored};
}

}  // namespace greta
