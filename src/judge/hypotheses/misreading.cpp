#include "judge/hypotheses/misreading.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

#include "judge/hypotheses/misread_weights.h"
#include "judge/hypotheses/sum_parts.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

/// What a reader sees of a row, and of the rows about it.
struct Sight {
  WeightBlocks& seen;         // to be changed
  const WeightBlocks& right;  // of this row
  const Tensor& weight;
  int64_t row;
};

struct FieldReading {
  std::string_view hypothesis;
  const char *en, *es;  // {}: the weight's name
  bool (*applies)(TensorType type);
  void (*read)(const Sight& sight);
};

// --- Which types have what ---

bool any(TensorType type) { return has_fields(type); }
bool of_bits(TensorType type) { return has_fields(type) && type != TensorType::q8_0; }
bool high(TensorType type) { return has_fields(type) && (code_bits(type) == 5 || code_bits(type) == 6); }
bool minima(TensorType type) { return has_minima(type); }
bool scale_and_min(TensorType type) { return has_minima(type) && has_small_scales(type); }
bool two_scales(TensorType type) { return type == TensorType::q6_k; }
bool centred(TensorType type) { return of_bits(type) && !has_minima(type); }
bool legacy_min(TensorType type) { return has_minima(type) && !has_small_scales(type); }
bool six_bits(TensorType type) { return type == TensorType::q6_k; }

// --- What is seen of each block ---

template <class Change>
void each(const Sight& s, const Change& change) {
  for (size_t b = 0; b < s.seen.size(); ++b) change(s.seen[b], b);
}

void copy_scale(WeightBlock& to, const WeightBlock& from) {
  to.d = from.d;
  std::copy_n(from.scale, 2, to.scale);
  std::copy_n(from.zero_scale, 2, to.zero_scale);
}

/// The small scales alone, of codes and of zero points, each half's from half `from(half)`.
template <class From>
void halves(const Sight& s, const From& from) {
  each(s, [&](WeightBlock& block, size_t b) {
    for (int half = 0; half < 2; ++half)
      block.scale[half] = block.zero_scale[half] = s.right[b].scale[from(half)];
  });
}

/// The scales of codes from another block, while zero points keep theirs.
template <class From>
void scales_of_codes(const Sight& s, const From& from) {
  each(s, [&](WeightBlock& block, size_t b) { std::copy_n(s.right[from(b)].scale, 2, block.scale); });
}

void copy_min(WeightBlock& to, const WeightBlock& from) {
  to.m = from.m;
  to.min = from.min;
}

size_t before(size_t b) { return b == 0 ? 0 : b - 1; }
size_t after(const WeightBlocks& blocks, size_t b) { return std::min(b + 1, blocks.size() - 1); }

/// Every code from code `from(i)` of the same block.
template <class From>
void codes(const Sight& s, const From& from) {
  each(s, [&](WeightBlock& block, size_t b) {
    for (int i = 0; i < 32; ++i) block.code[i] = s.right[b].code[from(i)];
  });
}

/// The bits of `mask` in every code from code `from(i)`, or, negative, 0.
template <class From>
void bits(const Sight& s, int mask, const From& from) {
  each(s, [&](WeightBlock& block, size_t b) {
    for (int i = 0; i < 32; ++i) {
      const int source = from(i);
      const int theirs = source < 0 ? 0 : s.right[b].code[source] & mask;
      block.code[i] = (s.right[b].code[i] & ~mask) | theirs;
    }
  });
}

/// Of a q6_k block's quarters of 128: whose low bits each takes.
void low_bits_of_quarter(const Sight& s, const std::array<size_t, 4>& from) {
  each(s, [&](WeightBlock& block, size_t b) {
    const WeightBlock& other = s.right[b - b % 4 + from[b % 4]];
    for (int i = 0; i < 32; ++i) block.code[i] = (s.right[b].code[i] & ~15) | (other.code[i] & 15);
  });
}

/// Scales, and minima, of row `row`; none, where there is no such row.
void fields_of_row(const Sight& s, int64_t row, bool minima) {
  const bool is_there = row >= 0 && row < row_count(s.weight);
  const WeightBlocks other = is_there ? blocks_of(s.weight, row) : WeightBlocks(s.right.size());
  each(s, [&](WeightBlock& block, size_t b) {
    copy_scale(block, other[b]);
    if (minima) copy_min(block, other[b]);
  });
}

/// Row + by, inside the matrix.
int64_t row_beside(const Sight& s, int64_t by) {
  return std::clamp<int64_t>(s.row + by, 0, row_count(s.weight) - 1);
}
void scales_of_row(const Sight& s, int64_t by) { fields_of_row(s, row_beside(s, by), false); }
void scales_and_minima_of_row(const Sight& s, int64_t by) { fields_of_row(s, row_beside(s, by), true); }

/// Of `of` rows the next one, of the last of them the first.
int64_t next_of(const Sight& s, int64_t of) {
  const int64_t first = s.row / of * of, count = std::min(of, row_count(s.weight) - first);
  return first + (s.row - first + 1) % count;
}

/// Two codes from each of 128 bytes, in their order.
void consecutive_nibbles(const Sight& s) {
  constexpr size_t kBlocks = 8, kLanes = 32;
  each(s, [&](WeightBlock& block, size_t b) {
    for (size_t j = 0; j < kLanes; ++j) {
      const size_t byte = (b % kBlocks * kLanes + j) / 2, half = j % 2;
      block.code[j] = s.right[b / kBlocks * kBlocks + byte / kLanes * 2 + half].code[byte % kLanes];
    }
  });
}

bool four_bits_of_256(TensorType type) { return type == TensorType::q4_k; }

constexpr FieldReading kReadings[] = {
    {"nibble_order", "the nibbles of {} are read in the wrong order: high before low",
     "los nibbles de {} se leen en orden inverso: primero el alto", of_bits,
     [](const Sight& s) { codes(s, [](int i) { return (i + 16) % 32; }); }},
    {"nibble_order", "the nibbles of {} are read in the wrong order: high before low, of 4 bits each",
     "los nibbles de {} se leen en orden inverso: primero el alto, de 4 bits", high,
     [](const Sight& s) { bits(s, 15, [](int i) { return (i + 16) % 32; }); }},
    {"nibble_order", "the nibbles of {} are read interleaved: 2i and 2i + 1 from one byte",
     "los nibbles de {} se leen intercalados: 2i y 2i + 1 de un byte", of_bits,
     [](const Sight& s) { codes(s, [](int i) { return i / 2 + i % 2 * 16; }); }},
    {"nibble_order",
     "the nibbles of {} are read one after the other: 2i and 2i + 1 of 256 from byte i of 128",
     "los nibbles de {} se leen uno tras otro: 2i y 2i + 1 de 256 del byte i de 128", four_bits_of_256,
     consecutive_nibbles},
    {"nibble_order", "the low nibbles of {} are looked for as q4_k has them",
     "los nibbles bajos de {} se buscan como los tiene q4_k", six_bits,
     [](const Sight& s) {
       low_bits_of_quarter(s, {0, 2, 1, 3});
     }},
    {"nibble_order", "the low nibbles of {} are looked for in the bytes where q4_k has them",
     "los nibbles bajos de {} se buscan en los bytes donde los tiene q4_k", six_bits,
     [](const Sight& s) {
       low_bits_of_quarter(s, {0, 0, 3, 3});
     }},
    {"code_bits", "the high bits of {}'s codes are dropped", "se omiten los bits altos de los códigos de {}",
     high, [](const Sight& s) { bits(s, ~15, [](int) { return -1; }); }},
    {"code_bits", "the high bits of {}'s codes are all set",
     "los bits altos de los códigos de {} están todos a 1", high,
     [](const Sight& s) {
       const int all = (1 << code_bits(s.weight.type)) - 16;
       each(s, [&](WeightBlock& block, size_t) {
         for (int& code : block.code) code |= all;
       });
     }},
    {"code_bits", "the high bits of {}'s codes are exchanged between the halves of a block",
     "los bits altos de los códigos de {} están intercambiados entre las mitades del bloque", high,
     [](const Sight& s) { bits(s, ~15, [](int i) { return (i + 16) % 32; }); }},
    {"code_bits", "the high bits of {}'s second half of a block are those of the first",
     "los bits altos de la segunda mitad de cada bloque de {} son los de la primera", high,
     [](const Sight& s) { bits(s, ~15, [](int i) { return i % 16; }); }},
    {"code_bits", "the high bits of {}'s first half of a block are those of the second",
     "los bits altos de la primera mitad de cada bloque de {} son los de la segunda", high,
     [](const Sight& s) { bits(s, ~15, [](int i) { return 16 + i % 16; }); }},
    {"code_bits", "the high bits of {}'s codes are read interleaved: 2i and 2i + 1 side by side",
     "los bits altos de los códigos de {} se leen intercalados", high,
     [](const Sight& s) { bits(s, ~15, [](int i) { return i / 2 + i % 2 * 16; }); }},
    {"code_bits", "the high bits of {}'s codes are read backwards",
     "los bits altos de los códigos de {} se leen al revés", high,
     [](const Sight& s) { bits(s, ~15, [](int i) { return 31 - i; }); }},
    {"zero_point", "the minimum of {}'s blocks is replaced by a fixed zero point: d * (code - half range)",
     "el mínimo de los bloques de {} se reemplaza por un punto cero: d * (código - medio rango)", legacy_min,
     [](const Sight& s) {
       each(s, [&](WeightBlock& block, size_t) {
         block.offset = 1 << (code_bits(s.weight.type) - 1);
         block.min = 0;
       });
     }},
    {"zero_point", "the zero point of {} is taken as 0", "el punto cero de {} se toma como 0", centred,
     [](const Sight& s) { each(s, [](WeightBlock& block, size_t) { block.offset = 0; }); }},
    {"zero_point", "the codes of {} are one too high", "los códigos de {} son mayores en uno", any,
     [](const Sight& s) { each(s, [](WeightBlock& block, size_t) { block.offset -= 1; }); }},
    {"zero_point", "the codes of {} are one too low", "los códigos de {} son menores en uno", any,
     [](const Sight& s) { each(s, [](WeightBlock& block, size_t) { block.offset += 1; }); }},
    {"mins_dropped", "the minima of {}'s blocks are dropped", "se omiten los mínimos de los bloques de {}",
     minima, [](const Sight& s) { each(s, [](WeightBlock& block, size_t) { block.min = 0; }); }},
    {"mins_misread", "the minima of {}'s blocks have the wrong sign",
     "los mínimos de los bloques de {} tienen el signo equivocado", minima,
     [](const Sight& s) { each(s, [](WeightBlock& block, size_t) { block.m = -block.m; }); }},
    {"mins_misread", "the minima of {}'s blocks count twice",
     "los mínimos de los bloques de {} cuentan dos veces", minima,
     [](const Sight& s) { each(s, [](WeightBlock& block, size_t) { block.m *= 2; }); }},
    {"mins_misread", "the small scales of {}'s blocks are taken for their minima",
     "las escalas pequeñas de los bloques de {} se toman como mínimos", scale_and_min,
     [](const Sight& s) { each(s, [](WeightBlock& block, size_t) { block.min = block.scale[0]; }); }},
    {"mins_misread", "the high 2 bits of {}'s minima 4-7 are lost",
     "se pierden los 2 bits altos de los mínimos 4-7 de {}", scale_and_min,
     [](const Sight& s) {
       each(s, [](WeightBlock& block, size_t b) {
         if (b % 8 >= 4) block.min &= 15;
       });
     }},
    {"scale_misread", "the high 2 bits of {}'s scales 4-7 are lost",
     "se pierden los 2 bits altos de las escalas 4-7 de {}", scale_and_min,
     [](const Sight& s) {
       each(s, [](WeightBlock& block, size_t b) {
         if (b % 8 >= 4) block.scale[0] = block.scale[1] = block.scale[0] & 15;
       });
     }},
    {"scale_misread", "the small minima of {}'s blocks are taken for their scales",
     "los mínimos pequeños de los bloques de {} se toman como escalas", scale_and_min,
     [](const Sight& s) {
       each(s, [](WeightBlock& block, size_t) { block.scale[0] = block.scale[1] = block.min; });
     }},
    {"scale_misread", "scales and minima of {}'s blocks are exchanged",
     "escalas y mínimos de los bloques de {} están intercambiados", scale_and_min,
     [](const Sight& s) {
       each(s, [](WeightBlock& block, size_t) {
         const int scale = block.scale[0];
         block.scale[0] = block.scale[1] = block.min;
         block.min = scale;
       });
     }},
    {"scale_misread", "the small scales of {} are read without their sign",
     "las escalas pequeñas de {} se leen sin signo", two_scales,
     [](const Sight& s) {
       each(s, [](WeightBlock& block, size_t) {
         for (int half = 0; half < 2; ++half) block.zero_scale[half] = block.scale[half] &= 255;
       });
     }},
    {"scale_misread", "both halves of a block of {} take the first one's scale",
     "ambas mitades de un bloque de {} toman la escala de la primera", two_scales,
     [](const Sight& s) { halves(s, [](int) { return 0; }); }},
    {"scale_misread", "both halves of a block of {} take the second one's scale",
     "ambas mitades de un bloque de {} toman la escala de la segunda", two_scales,
     [](const Sight& s) { halves(s, [](int) { return 1; }); }},
    {"scale_misread", "the halves of a block of {} take each other's scale",
     "las mitades de un bloque de {} toman cada una la escala de la otra", two_scales,
     [](const Sight& s) { halves(s, [](int half) { return 1 - half; }); }},
    {"neighbour_scale", "each block of {} is scaled by the next block's scale",
     "cada bloque de {} usa la escala del bloque siguiente", any,
     [](const Sight& s) {
       each(s, [&](WeightBlock& block, size_t b) { copy_scale(block, s.right[after(s.right, b)]); });
     }},
    {"neighbour_scale", "the codes of each block of {} are scaled by the next block's scales",
     "los códigos de cada bloque de {} usan las escalas del bloque siguiente", two_scales,
     [](const Sight& s) { scales_of_codes(s, [&](size_t b) { return after(s.right, b); }); }},
    {"neighbour_scale", "the codes of each block of {} are scaled by the block before's scales",
     "los códigos de cada bloque de {} usan las escalas del bloque anterior", two_scales,
     [](const Sight& s) { scales_of_codes(s, before); }},
    {"neighbour_scale", "each block of {} is scaled by the next block's scale and minimum",
     "cada bloque de {} usa la escala y el mínimo del bloque siguiente", minima,
     [](const Sight& s) {
       each(s, [&](WeightBlock& block, size_t b) {
         copy_scale(block, s.right[after(s.right, b)]);
         copy_min(block, s.right[after(s.right, b)]);
       });
     }},
    {"neighbour_scale", "each block of {} has the next block's minimum",
     "cada bloque de {} usa el mínimo del siguiente", minima,
     [](const Sight& s) {
       each(s, [&](WeightBlock& block, size_t b) { copy_min(block, s.right[after(s.right, b)]); });
     }},
    {"neighbour_scale", "each block of {} is scaled by the block before's scale",
     "cada bloque de {} usa la escala del bloque anterior", any,
     [](const Sight& s) {
       each(s, [&](WeightBlock& block, size_t b) { copy_scale(block, s.right[before(b)]); });
     }},
    {"neighbour_scale", "each block of {} is scaled by the block before's scale and minimum",
     "cada bloque de {} usa la escala y el mínimo del bloque anterior", minima,
     [](const Sight& s) {
       each(s, [&](WeightBlock& block, size_t b) {
         copy_scale(block, s.right[before(b)]);
         copy_min(block, s.right[before(b)]);
       });
     }},
    {"neighbour_scale", "each row of {} takes the scales of the next row",
     "cada fila de {} toma las escalas de la fila siguiente", any,
     [](const Sight& s) { scales_of_row(s, 1); }},
    {"neighbour_scale", "each row of {} takes the scales and minima of the next row",
     "cada fila de {} toma las escalas y los mínimos de la fila siguiente", minima,
     [](const Sight& s) { scales_and_minima_of_row(s, 1); }},
    {"neighbour_scale", "each row of {} takes the scales of the next row, the last one none",
     "cada fila de {} toma las escalas de la fila siguiente, y la última ninguna", any,
     [](const Sight& s) { fields_of_row(s, s.row + 1, false); }},
    {"neighbour_scale", "each row of {} takes the scales and minima of the next row, the last one none",
     "cada fila de {} toma las escalas y los mínimos de la fila siguiente, y la última ninguno", minima,
     [](const Sight& s) { fields_of_row(s, s.row + 1, true); }},
    {"neighbour_scale", "each row of {} takes the scales of the next row, the last one the first's",
     "cada fila de {} toma las escalas de la fila siguiente, y la última las de la primera", any,
     [](const Sight& s) { fields_of_row(s, next_of(s, row_count(s.weight)), false); }},
    {"neighbour_scale",
     "each row of {} takes the scales and minima of the next row, the last one the first's",
     "cada fila de {} toma escalas y mínimos de la fila siguiente, y la última los de la primera", minima,
     [](const Sight& s) { fields_of_row(s, next_of(s, row_count(s.weight)), true); }},
    {"neighbour_scale", "each row of {} takes the scales of the next of 16 rows",
     "cada fila de {} toma las escalas de la siguiente de 16 filas", any,
     [](const Sight& s) { fields_of_row(s, next_of(s, 16), false); }},
    {"neighbour_scale", "each row of {} takes the scales and minima of the next of 16 rows",
     "cada fila de {} toma las escalas y los mínimos de la siguiente de 16 filas", minima,
     [](const Sight& s) { fields_of_row(s, next_of(s, 16), true); }},
    {"neighbour_scale", "each row of {} takes the scales of the row before",
     "cada fila de {} toma las escalas de la fila anterior", any,
     [](const Sight& s) { scales_of_row(s, -1); }},
    {"neighbour_scale", "rows of {} take the scales of the row 16 before",
     "filas de {} toman las escalas de la fila 16 lugares antes", any,
     [](const Sight& s) { scales_of_row(s, -16); }},
    {"neighbour_scale", "rows of {} take the scales and minima of the row 16 before",
     "filas de {} toman las escalas y los mínimos de la fila 16 lugares antes", minima,
     [](const Sight& s) { scales_and_minima_of_row(s, -16); }},
    {"neighbour_scale", "rows of {} take the scales of the row 16 after",
     "filas de {} toman las escalas de la fila 16 lugares después", any,
     [](const Sight& s) { scales_of_row(s, 16); }},
    {"group_stride", "odd blocks of {} take the codes of the block before: the group's stride is wrong",
     "los bloques impares de {} toman los códigos del anterior: el paso del grupo es erróneo", any,
     [](const Sight& s) {
       each(s,
            [&](WeightBlock& block, size_t b) { std::copy_n(s.right[b & ~size_t{1}].code, 32, block.code); });
     }},
    {"group_stride", "every block of {} takes the codes of the first of its 8: the group term is missing",
     "cada bloque de {} toma los códigos del primero de sus 8: falta el término del grupo", any,
     [](const Sight& s) {
       each(s,
            [&](WeightBlock& block, size_t b) { std::copy_n(s.right[b & ~size_t{7}].code, 32, block.code); });
     }},
};

/// A row of weights as a reader has it that is off by some elements of K; of any type.
struct IndexReading {
  int64_t by;
  const char *en, *es;
};

constexpr IndexReading kIndexReadings[] = {
    {-32, "the weights of 32 k before are read from {}", "se leen de {} los pesos de 32 k antes"},
    {32, "the weights of 32 k after are read from {}", "se leen de {} los pesos de 32 k después"},
    {-1, "the weight of the k before is read from {}", "se lee de {} el peso del k anterior"},
    {1, "the weight of the next k is read from {}", "se lee de {} el peso del k siguiente"},
};
constexpr std::string_view kOfIndex = "group_stride";

struct Misreading {
  RowReader reader;
  Text title;
  BlockReader blocks = {};  // where it is of fields

  std::shared_ptr<OwnedMatrix> matrix(const Tensor& weight) const {
    auto own = blocks ? read_blocks(weight, blocks) : nullptr;
    return own != nullptr ? own : read_rows(weight, reader);
  }
};

std::vector<Misreading> readings_of(const Tensor& weight, std::string_view hypothesis,
                                    const std::string& label) {
  const auto text = [&](const char* form) { return fmt::format(fmt::runtime(form), label); };
  std::vector<Misreading> readings;
  for (const FieldReading& row : kReadings) {
    if (row.hypothesis != hypothesis || !row.applies(weight.type)) continue;
    const auto blocks = [read = row.read](const Tensor& all, int64_t i) {
      const WeightBlocks right = blocks_of(all, i);
      WeightBlocks seen = right;
      read({seen, right, all, i});
      return seen;
    };
    const auto reader = [blocks](const Tensor& all, int64_t i, double* values) {
      const WeightBlocks seen = blocks(all, i);
      for (size_t j = 0; j < 32 * seen.size(); ++j) values[j] = seen[j / 32].value(j % 32);
    };
    readings.push_back({reader, {text(row.en), text(row.es)}, blocks});
  }
  for (const IndexReading& row : kIndexReadings) {
    if (hypothesis != kOfIndex) continue;
    const auto reader = [by = row.by](const Tensor& all, int64_t i, double* values) {
      const int64_t k = static_cast<int64_t>(all.dims[0]);
      std::vector<double> right(static_cast<size_t>(k));
      decode_row(all, i, right);
      for (int64_t j = 0; j < k; ++j)
        values[j] = right[static_cast<size_t>(std::clamp<int64_t>(j + by, 0, k - 1))];
    };
    readings.push_back({reader, {text(row.en), text(row.es)}});
  }
  return readings;
}

/// What the reader makes of a row beside what is right.
RowReader difference(RowReader reader) {
  return [reader = std::move(reader)](const Tensor& weight, int64_t row, double* values) {
    std::vector<double> right(weight.dims[0]);
    decode_row(weight, row, right);
    reader(weight, row, values);
    for (size_t j = 0; j < right.size(); ++j) values[j] -= right[j];
  };
}

/// How the errors of some outputs agree with what the reader would make of them.
struct Likeness {
  double explained = 0;  // 1 - |what is left| / |error|
  double cosine = 0;
};

Likeness likeness(const Tensor& weight, const RowReader& reader, const OutputSample& sample) {
  double left = 0, both = 0, square = 0, predicted_square = 0;
  const RowReader change = difference(reader);
  std::vector<double> row(weight.dims[0]);
  for (size_t i = 0; i < sample.outputs.size(); ++i) {
    change(weight, sample.outputs[i], row.data());
    for (size_t r = 0; r < sample.x.size(); ++r) {
      const double predicted = std::inner_product(row.begin(), row.end(), sample.x[r].begin(), 0.0);
      const double error = sample.error[i][r];
      left += (error - predicted) * (error - predicted);
      both += error * predicted;
      square += error * error;
      predicted_square += predicted * predicted;
    }
  }
  return {1 - std::sqrt(left / square), both / std::sqrt(square * predicted_square)};
}

/// The reader in the parts of K where its mistake is seen, if it is in some and not in others.
void add_in_parts(const Suspect& s, const Misreading& reading, std::vector<Candidate>& candidates) {
  const Tensor& weight = *s.weight();
  const int64_t k = static_cast<int64_t>(weight.dims[0]);
  for (const Partition& partition : partitions_of(k)) {
    const std::vector<double> found = part_weights(s, partition, difference(reading.reader));
    std::set<int64_t> there;
    bool clear = !found.empty();
    for (size_t i = 0; i < found.size(); ++i) {
      clear = clear && (std::abs(found[i]) < 0.25 || std::abs(found[i] - 1) < 0.25);
      if (found[i] > 0.5) there.insert(static_cast<int64_t>(i));
    }
    if (!clear || there.empty() || there.size() == found.size()) continue;
    auto matrix = read_rows(weight, [&](const Tensor& all, int64_t row, double* values) {
      std::vector<double> right(all.dims[0]);
      decode_row(all, row, right);
      reading.reader(all, row, values);
      for (int64_t j = 0; j < k; ++j) {
        if (!there.contains(partition.of(j))) values[j] = right[static_cast<size_t>(j)];
      }
    });
    const auto where = [&](Language language) { return parts_text(partition, there, k, language); };
    candidates.push_back(with_weight(std::move(matrix),
                                     {reading.title.en + ", for " + where(Language::english),
                                      reading.title.es + ", para " + where(Language::spanish)},
                                     1));
    candidates.back().counted = true;
    return;
  }
}

/// Of a table few rows are looked up: these alone are read.
Candidate embedded(Misreading reading) {
  return computed_by(
      [reader = std::move(reading.reader)](const StageProblem& p, const Values& values) {
        Expected expected = right_of(p, values);
        const size_t width = p.weight->dims[0];
        for (size_t row = 0; row < p.tokens.size(); ++row) {
          reader(*p.weight, p.tokens[row], &expected.value[row * width]);
          for (size_t i = row * width; i < (row + 1) * width; ++i) {
            expected.value[i] *= p.scale;
            expected.bound[i] += 2 * bounds::kU * std::abs(expected.value[i]);
          }
        }
        return expected;
      },
      std::move(reading.title));
}

}  // namespace

std::vector<Candidate> misread(const Suspect& s, std::string_view hypothesis) {
  constexpr size_t kOutputs = 256;
  // Less is not worth the whole matrix, or the parts of K: one of 40 gives the latter.
  constexpr double kLike = 0.8, kRelated = 0.15;
  const Tensor* weight = s.weight();
  const bool matrix = s.kind() == StageKind::projection || s.kind() == StageKind::embedding;
  if (weight == nullptr || !matrix) return {};
  const std::optional<OutputSample> sample = sample_of(s, kOutputs);
  // Rounded to nothing, rows tell no reading from another; the sums that minima meet may be more.
  const bool tells = sample && std::ranges::any_of(sample->x, [](const std::vector<double>& x) {
                       return std::ranges::any_of(x, [](double value) { return value != 0; });
                     });
  std::vector<Candidate> candidates;
  std::vector<std::pair<double, Misreading>> related;  // by cosine
  for (const Misreading& reading : readings_of(*weight, hypothesis, weight_label(s.at.stage))) {
    if (s.kind() == StageKind::embedding) {
      candidates.push_back(embedded(reading));
      continue;
    }
    const Likeness like = tells ? likeness(*weight, reading.reader, *sample) : Likeness{1, 1};
    if (like.explained > kLike) {
      candidates.push_back(with_weight(reading.matrix(*weight), reading.title));
    } else if (like.cosine > kRelated) {
      related.emplace_back(like.cosine, reading);
    }
  }
  if (!candidates.empty()) return candidates;
  // Each takes passes over the weight, part by part; the right one is among the most alike.
  constexpr size_t kTried = 3;
  std::ranges::stable_sort(related, std::greater{}, [](const auto& one) { return one.first; });
  for (size_t i = 0; i < std::min(kTried, related.size()); ++i)
    add_in_parts(s, related[i].second, candidates);
  return candidates;
}

}  // namespace greta
