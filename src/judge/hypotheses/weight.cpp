// What people get wrong when they read a weight: layout, rows, layer, blocks.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/misread_weights.h"

namespace greta {
namespace {

// Titles: {} is the weight's name.
using Blocks = std::vector<WeightBlock>;

bool is_matrix(const Suspect& s) {
  const bool matrix = s.kind() == StageKind::projection || s.kind() == StageKind::embedding;
  return matrix && s.weight() != nullptr;
}

std::vector<Candidate> column_major(const Suspect& s) {
  const GgufTensor* weight = s.weight();
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
    candidates.push_back(with_weight(reorder_rope_rows(*s.weight(), s.config().head_dim, to_pairs),
                                     {fmt::format("the rows of {} are permuted once too often: {}", w, en),
                                      fmt::format("las filas de {} se permutan una vez de más: {}", w, es)}));
  }
  return candidates;
}

std::vector<Candidate> wrong_layer(const Suspect& s) {
  const GgufTensor* own = s.weight();
  if (own == nullptr || is_outside_layers(s.at.stage)) return {};
  const std::string w = weight_label(s.at.stage);
  std::vector<Candidate> candidates;
  for (int other = 0; other < s.config().n_layer; ++other) {
    const GgufTensor* weight = weight_of(s.model(), {s.at.stage, other});
    if (other == s.at.layer || weight == nullptr || weight->dims != own->dims) continue;
    candidates.push_back(
        with_weight(weight, {fmt::format("{} of layer {} is used in layer {}", w, other, s.at.layer),
                             fmt::format("en la capa {1} se usa {2} de la capa {0}", other, s.at.layer, w)}));
  }
  return candidates;
}

std::vector<Candidate> swapped(const Suspect& s) {
  const GgufTensor* own = s.weight();
  if (own == nullptr) return {};
  std::vector<Candidate> candidates;
  const auto add = [&](const GgufTensor* weight, const std::string& other) {
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

/// A reader of blocks that takes another code or scale for element i.
std::vector<Candidate> misread(const Suspect& s, const char* en, const char* es,
                               double (*value)(const Blocks& blocks, size_t block, size_t i)) {
  const GgufTensor* weight = s.weight();
  if (weight == nullptr || !is_matrix(s) || !has_blocks(weight->type)) return {};
  auto matrix = read_blocks(*weight, [&](const Blocks& blocks, float* row) {
    for (size_t b = 0; b < blocks.size(); ++b) {
      for (size_t i = 0; i < 32; ++i) row[b * 32 + i] = static_cast<float>(value(blocks, b, i));
    }
  });
  const std::string w = weight_label(s.at.stage);
  return {
      with_weight(std::move(matrix), {fmt::format(fmt::runtime(en), w), fmt::format(fmt::runtime(es), w)})};
}

double value_of(const WeightBlock& scale, int code) { return scale.d * (code - scale.offset) + scale.m; }

void join(std::vector<Candidate>& all, std::vector<Candidate> more) {
  for (Candidate& candidate : more) all.push_back(std::move(candidate));
}

bool has_nibbles(const Suspect& s) {
  const GgufTensor* weight = s.weight();
  return weight != nullptr && weight->type != TensorType::q8_0;
}

std::vector<Candidate> nibble_order(const Suspect& s) {
  if (!has_nibbles(s)) return {};
  std::vector<Candidate> all = misread(s, "the nibbles of {} are read in the wrong order: high before low",
                                       "los nibbles de {} se leen en orden inverso: primero el alto",
                                       [](const Blocks& blocks, size_t b, size_t i) {
                                         return value_of(blocks[b], blocks[b].code[(i + 16) % 32]);
                                       });
  join(all, misread(s, "the nibbles of {} are read interleaved: 2i and 2i + 1 from one byte",
                    "los nibbles de {} se leen intercalados: 2i y 2i + 1 de un byte",
                    [](const Blocks& blocks, size_t b, size_t i) {
                      return value_of(blocks[b], blocks[b].code[i / 2 + i % 2 * 16]);
                    }));
  return all;
}

std::vector<Candidate> zero_point(const Suspect& s) {
  const GgufTensor* weight = s.weight();
  if (weight == nullptr || weight->type == TensorType::q8_0) return {};
  const char* en = "the minimum of {}'s blocks is replaced by a fixed zero point: d * (code - half range)";
  const char* es =
      "el mínimo de los bloques de {} se reemplaza por un punto cero: d * (código - medio rango)";
  if (weight->type == TensorType::q4_1) {
    return misread(s, en, es, [](const Blocks& blocks, size_t b, size_t i) {
      return blocks[b].d * (blocks[b].code[i] - 8);
    });
  }
  if (weight->type == TensorType::q5_1) {
    return misread(s, en, es, [](const Blocks& blocks, size_t b, size_t i) {
      return blocks[b].d * (blocks[b].code[i] - 16);
    });
  }
  return misread(s, "the zero point of {} is taken as 0", "el punto cero de {} se toma como 0",
                 [](const Blocks& blocks, size_t b, size_t i) { return blocks[b].d * blocks[b].code[i]; });
}

std::vector<Candidate> mins_dropped(const Suspect& s) {
  const GgufTensor* weight = s.weight();
  if (weight == nullptr || (weight->type != TensorType::q4_1 && weight->type != TensorType::q5_1)) return {};
  return misread(s, "the minima of {}'s blocks are dropped", "se omiten los mínimos de los bloques de {}",
                 [](const Blocks& blocks, size_t b, size_t i) { return blocks[b].d * blocks[b].code[i]; });
}

std::vector<Candidate> neighbour_scale(const Suspect& s) {
  std::vector<Candidate> all = misread(s, "each block of {} is scaled by the next block's scale",
                                       "cada bloque de {} usa la escala del bloque siguiente",
                                       [](const Blocks& blocks, size_t b, size_t i) {
                                         const WeightBlock& next = blocks[std::min(b + 1, blocks.size() - 1)];
                                         return next.d * (blocks[b].code[i] - blocks[b].offset) + blocks[b].m;
                                       });
  join(all, misread(s, "each block of {} is scaled by the next block's scale and minimum",
                    "cada bloque de {} usa la escala y el mínimo del bloque siguiente",
                    [](const Blocks& blocks, size_t b, size_t i) {
                      return value_of(blocks[std::min(b + 1, blocks.size() - 1)], blocks[b].code[i]);
                    }));
  join(all,
       misread(s, "each block of {} has the next block's minimum",
               "cada bloque de {} usa el mínimo del siguiente", [](const Blocks& blocks, size_t b, size_t i) {
                 return blocks[b].d * (blocks[b].code[i] - blocks[b].offset) +
                        blocks[std::min(b + 1, blocks.size() - 1)].m;
               }));
  join(all, misread(s, "each block of {} is scaled by the block before's scale and minimum",
                    "cada bloque de {} usa la escala y el mínimo del bloque anterior",
                    [](const Blocks& blocks, size_t b, size_t i) {
                      return value_of(blocks[b == 0 ? 0 : b - 1], blocks[b].code[i]);
                    }));
  return all;
}

std::vector<Candidate> group_stride(const Suspect& s) {
  std::vector<Candidate> all;
  const char* en = "odd blocks of {} take the codes of the block before: the group's stride is wrong";
  const char* es = "los bloques impares de {} toman los códigos del anterior: el paso del grupo es erróneo";
  join(all, misread(s, en, es, [](const Blocks& blocks, size_t b, size_t i) {
         return value_of(blocks[b], blocks[b & ~size_t{1}].code[i]);
       }));
  join(all, misread(s, "every block of {} takes the codes of the first of its 8: the group term is missing",
                    "cada bloque de {} toma los códigos del primero de sus 8: falta el término del grupo",
                    [](const Blocks& blocks, size_t b, size_t i) {
                      return value_of(blocks[b], blocks[b & ~size_t{7}].code[i]);
                    }));
  return all;
}

constexpr const char* kB331 = "B3.34-36, B3.40 of the founding engine";
constexpr const char* kNibbles = "https://github.com/kekzl/imp/pull/722";
constexpr const char* kGroups = "https://github.com/1bit-MONSTER/1bit-MONSTER/issues/153";

const std::array<Hypothesis, 9> kWeight{{
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
     nibble_order},
    {"zero_point",
     {"codes are read with another zero point", "los códigos se leen con otro punto cero"},
     kNibbles,
     zero_point},
    {"mins_dropped",
     {"the minima of blocks are left out", "se omiten los mínimos de los bloques"},
     kGroups,
     mins_dropped},
    {"neighbour_scale",
     {"a block is scaled by its neighbour's scale", "un bloque usa la escala de su vecino"},
     kGroups,
     neighbour_scale},
    {"group_stride",
     {"a block takes another block's codes: a term of the index is missing",
      "un bloque toma los códigos de otro: falta un término del índice"},
     kGroups,
     group_stride},
}};

}  // namespace

std::span<const Hypothesis> weight_hypotheses() { return kWeight; }

}  // namespace greta
