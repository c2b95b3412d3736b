#pragma once
// What a kernel may declare of its arithmetic in a manifest: the one table of it. The reader checks by it,
// the writer writes by it, the judge refuses what it could not heed. For people it stands in
// docs/trace-format.md ("What a kernel declares") and docs/trace.schema.json; a test holds both to it.

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

#include "model/stage.h"

namespace greta {

enum class KernelField {
  activation,
  accumulator,
  output,
  between,
  weight,
  unit,
  splits,
  slice,
  sum_lanes,
  angle_rounding,
  angle,
  fast_math,
  fused_add,
  rotation,
  rotation_of_values,
  op,
  route,
  shape,
  weight_type,
  note,
};

/// What JSON holds there: text, a name of kFormatNames, an integer, a number, true or false.
enum class FieldValue { text, format, integer, number, flag };

struct KernelFieldInfo {
  KernelField field;
  const char* name;
  FieldValue value;
  bool (*is_read_by)(StageKind);  // whose judge heeds it
  int64_t least = 0, most = 0;    // of an integer
};

inline constexpr std::array kKernelFields = [] {
  using enum KernelField;
  using enum FieldValue;
  using Kind = StageKind;
  constexpr int64_t any = std::numeric_limits<int32_t>::max();
  constexpr auto all = [](Kind) { return true; };
  constexpr auto products = [](Kind kind) { return is_projection(kind); };
  constexpr auto row_sums = [](Kind kind) {
    return is_norm(kind) || kind == Kind::weights || kind == Kind::choice_weights;
  };
  constexpr auto norms = [](Kind kind) { return kind == Kind::norm; };
  constexpr auto ropes = [](Kind kind) { return kind == Kind::rope; };
  constexpr auto caches = [](Kind kind) { return kind == Kind::cache; };
  constexpr auto functions = [](Kind kind) {
    return kind == Kind::rope || kind == Kind::weights || kind == Kind::product ||
           kind == Kind::choice_weights || kind == Kind::gated || kind == Kind::probabilities;
  };
  return std::to_array<KernelFieldInfo>({
      {activation, "activation", format, all},
      {accumulator, "accumulator", format, all},
      {output, "output", format, all},
      {between, "between", format, all},
      {weight, "weight", format, products},
      {unit, "unit", text, products},
      {splits, "splits", integer, products, 1, 64},
      {slice, "slice", integer, products, 0, any},
      {sum_lanes, "sum_lanes", integer, row_sums, 1, any},
      {angle_rounding, "angle_rounding", number, ropes},
      {angle, "angle", text, ropes},
      {fast_math, "fast_math", flag, functions},
      {fused_add, "fused_add", flag, norms},
      {rotation, "rotation", integer, caches, 0, 1 << 20},
      {rotation_of_values, "rotation_of_values", integer, caches, 0, 1 << 20},
      // These describe; no rounding follows from them.
      {op, "op", text, all},
      {route, "route", text, all},
      {shape, "shape", text, all},
      {weight_type, "weight_type", text, all},
      {note, "note", text, all},
  });
}();

static_assert([] {
  for (size_t i = 0; i < kKernelFields.size(); ++i) {
    if (kKernelFields[i].field != static_cast<KernelField>(i)) return false;
  }
  return kKernelFields.size() == static_cast<size_t>(KernelField::note) + 1;
}());

constexpr const char* name(KernelField field) { return kKernelFields[static_cast<size_t>(field)].name; }

}  // namespace greta
