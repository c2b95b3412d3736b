// What people get wrong when they read a weight: layout, rows, layer, blocks.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/misread_weights.h"
#include "judge/hypotheses/misreading.h"

namespace greta {
namespace {

bool is_matrix(const Suspect& s) {
  const bool matrix = s.kind() == StageKind::projection || s.kind() == StageKind::embedding;
  return matrix && s.weight() != nullptr;
}

std::vector<Candidate> column_major(const Suspect& s) {
  const Tensor* weight = s.weight();
  if (weight == nullptr || !is_matrix(s)) return {};
  const std::string w = weight_label(s.at.stage);
  return {with_weight(read_column_major(*weight), {w + " is read column-major", w + " se lee por columnas"})};
}

/// RoPE turns what the stage makes, or a norm of it.
bool is_rotated(Stage stage) {
  return std::any_of(kStageTable.begin(), kStageTable.end(), [&](const StageInfo& row) {
    const std::span<const Stage> inputs = row.inputs.span();
    if (std::find(inputs.begin(), inputs.end(), stage) == inputs.end()) return false;
    return row.kind == StageKind::rope || (row.kind == StageKind::head_norm && is_rotated(row.stage));
  });
}

std::vector<Candidate> rope_row_order(const Suspect& s) {
  if (s.kind() != StageKind::projection || !is_rotated(s.at.stage)) return {};
  const std::string w = weight_label(s.at.stage);
  std::vector<Candidate> candidates;
  for (const bool to_pairs : {true, false}) {
    const char* en =
        to_pairs ? "rotate-half rows into adjacent pairs" : "adjacent pairs into rotate-half rows";
    const char* es = to_pairs ? "de mitades a pares adyacentes" : "de pares adyacentes a mitades";
    candidates.push_back(with_weight(reorder_rope_rows(*s.weight(), rope_width(s.at.stage, s.config()),
                                                       rope_first(s.at.stage, s.config()), to_pairs),
                                     {fmt::format("the rows of {} are permuted once too often: {}", w, en),
                                      fmt::format("las filas de {} se permutan una vez de más: {}", w, es)}));
  }
  return candidates;
}

std::vector<Candidate> wrong_layer(const Suspect& s) {
  const Tensor* own = s.weight();
  if (own == nullptr || is_outside_layers(s.at.stage)) return {};
  const std::string w = weight_label(s.at.stage);
  std::vector<Candidate> candidates;
  for (int other = 0; other < s.config().n_layer; ++other) {
    const Tensor* weight = weight_of(s.model(), {s.at.stage, other});
    if (other == s.at.layer || weight == nullptr || weight->dims != own->dims) continue;
    candidates.push_back(
        with_weight(weight, {fmt::format("{} of layer {} is used in layer {}", w, other, s.at.layer),
                             fmt::format("en la capa {1} se usa {2} de la capa {0}", other, s.at.layer, w)}));
  }
  return candidates;
}

std::vector<Candidate> swapped(const Suspect& s) {
  const Tensor* own = s.weight();
  if (own == nullptr) return {};
  std::vector<Candidate> candidates;
  const auto add = [&](const Tensor* weight, const std::string& other) {
    if (weight == nullptr || weight == own || weight->dims != own->dims) return;
    const std::string w = weight_label(s.at.stage);
    candidates.push_back(with_weight(weight, {fmt::format("{} is used in the place of {}", other, w),
                                              fmt::format("se usa {} en lugar de {}", other, w)}));
  };
  const int last = static_cast<int>(s.config().n_layer) - 1;
  for (const Stage other : info(s.at.stage).siblings.span()) {
    const bool embedding = info(other).kind == StageKind::embedding;
    const bool of_last = is_outside_layers(s.at.stage) && !embedding;
    add(weight_of(s.model(), {other, embedding ? 0
                                     : of_last ? last
                                               : s.at.layer}),
        of_last ? "the last " + weight_label(other) : weight_label(other));
  }
  return candidates;
}

/// What a wrong reader of its fields makes of the weight.
template <size_t kN>
struct Name {
  constexpr Name(const char (&text)[kN]) { std::copy_n(text, kN, chars); }
  char chars[kN] = {};
};

template <Name kName>
std::vector<Candidate> misread_as(const Suspect& s) {
  return misread(s, kName.chars);
}

constexpr const char* kB331 = "B3.34-36, B3.40 of the founding engine";
constexpr const char* kNibbles = "https://github.com/kekzl/imp/pull/722";
constexpr const char* kGroups = "https://github.com/1bit-MONSTER/1bit-MONSTER/issues/153";

const std::array<Hypothesis, 12> kWeight{{
    {"weight_column_major",
     {"a weight's row-major buffer is read column-major",
      "el búfer de un peso, guardado por filas, se lee por columnas"},
     kB331,
     column_major},
    {"rope_row_order",
     {"the rows of Wq or Wk are in the other RoPE order",
      "las filas de Wq o Wk están en el otro orden de RoPE"},
     "https://github.com/ggml-org/llama.cpp/pull/22611",
     rope_row_order},
    {"wrong_layer_weight",
     {"another layer's weight is used", "se usa el peso de otra capa"},
     "B3.25 of the founding engine (per-layer slices)",
     wrong_layer},
    {"swapped_weight",
     {"a sibling's weight of the same shape is used (k and v, gate and up, norms)",
      "se usa un peso hermano de la misma forma (k y v, gate y up, las normas)"},
     "https://github.com/pegainfer-project/pegainfer/pull/544",
     swapped},
    {"nibble_order",
     {"4-bit codes are read in the wrong order within a block",
      "los códigos de 4 bits se leen en otro orden dentro del bloque"},
     kNibbles,
     misread_as<"nibble_order">},
    {"zero_point",
     {"codes are read with another zero point", "los códigos se leen con otro punto cero"},
     kNibbles,
     misread_as<"zero_point">},
    {"mins_dropped",
     {"the minima of blocks are left out", "se omiten los mínimos de los bloques"},
     kGroups,
     misread_as<"mins_dropped">},
    {"mins_misread",
     {"the minima of blocks have another sign, or are other bits of the file",
      "los mínimos de los bloques tienen otro signo, o son otros bits del fichero"},
     kGroups,
     misread_as<"mins_misread">},
    {"scale_misread",
     {"the small scales of blocks are read without bits, without their sign, or from another field",
      "las escalas pequeñas de los bloques se leen sin bits, sin signo o de otro campo"},
     kGroups,
     misread_as<"scale_misread">},
    {"code_bits",
     {"the high bits of codes are dropped, or taken from other elements",
      "los bits altos de los códigos se omiten, o se toman de otros elementos"},
     kNibbles,
     misread_as<"code_bits">},
    {"neighbour_scale",
     {"a block is scaled by its neighbour's scale", "un bloque usa la escala de su vecino"},
     kGroups,
     misread_as<"neighbour_scale">},
    {"group_stride",
     {"a block takes another block's codes: a term of the index is missing",
      "un bloque toma los códigos de otro: falta un término del índice"},
     kGroups,
     misread_as<"group_stride">},
}};

}  // namespace

std::span<const Hypothesis> weight_hypotheses() { return kWeight; }

}  // namespace greta
