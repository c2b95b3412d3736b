// Weights misread by hand, and sums that go wrong: each must be named.

#include <bit>
#include <cstdint>
#include <numeric>

#include "judge/hypotheses/named.h"

namespace greta {
namespace {

using test::Mistake;
using test::NamedCase;
using test::PlainBlock;
using test::PlainMatrix;
using test::PlainSite;
using test::Row;

/// The stage with its weight changed.
std::function<Row(const PlainSite&)> with(std::function<PlainMatrix(const PlainSite&, PlainMatrix)> change) {
  return [change](const PlainSite& s) { return s.times_input(change(s, s.weight())); };
}

/// The stage with its blocks misread: element i of block b of a row.
std::function<Row(const PlainSite&)> misread(
    std::function<double(const PlainBlock* row, size_t blocks, size_t b, size_t i)> value) {
  return [value](const PlainSite& s) {
    PlainMatrix w = s.weight();
    const std::vector<PlainBlock> blocks = test::plain_blocks(s.tensor(s.stage, s.layer));
    const size_t per_row = w.k / 32;
    for (size_t row = 0; row < w.n; ++row) {
      for (size_t j = 0; j < w.k; ++j) w.at(row, j) = value(&blocks[row * per_row], per_row, j / 32, j % 32);
    }
    return s.times_input(w);
  };
}

PlainMatrix transposed_reading(const PlainSite&, const PlainMatrix& w) {
  PlainMatrix wrong = w;
  for (size_t i = 0; i < w.n; ++i) {
    for (size_t j = 0; j < w.k; ++j) wrong.at(i, j) = w.w[j * w.n + i];
  }
  return wrong;
}

/// Row 2 i + h of a head from row h d/2 + i.
PlainMatrix to_pairs(const PlainSite& s, const PlainMatrix& w) {
  PlainMatrix wrong = w;
  const size_t d = static_cast<size_t>(s.config().head_dim);
  for (size_t row = 0; row < w.n; ++row) {
    const size_t i = row % d / 2, h = row % 2, from = row / d * d + h * d / 2 + i;
    for (size_t j = 0; j < w.k; ++j) wrong.at(row, j) = w.at(from, j);
  }
  return wrong;
}

std::function<Row(const PlainSite&)> other_weight(Stage stage, int layer) {
  return with(
      [=](const PlainSite& s, const PlainMatrix&) { return test::plain_matrix(s.tensor(stage, layer)); });
}

std::function<Row(const PlainSite&)> columns_times(std::function<double(size_t j)> factor) {
  return with([=](const PlainSite&, PlainMatrix w) {
    for (size_t i = 0; i < w.n; ++i) {
      for (size_t j = 0; j < w.k; ++j) w.at(i, j) *= factor(j);
    }
    return w;
  });
}

double as_f16(double x) { return static_cast<double>(f16_to_f32(f32_to_f16(static_cast<float>(x)))); }
double as_bf16(double x) { return static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(x)))); }

/// The running sum rounded after every addition.
std::function<Row(const PlainSite&)> summed_in(double (*round)(double)) {
  return [round](const PlainSite& s) {
    const PlainMatrix w = s.weight();
    const Row& x = s.in(common_input(s.stage));
    Row y;
    for (size_t i = 0; i < w.n; ++i) {
      double sum = 0;
      for (size_t j = 0; j < w.k; ++j) sum = round(sum + w.at(i, j) * static_cast<double>(x[j]));
      y.push_back(static_cast<float>(sum));
    }
    return y;
  };
}

std::function<Row(const PlainSite&)> input_in(double (*round)(double)) {
  return [round](const PlainSite& s) {
    return test::times(s.weight(), test::mapped(s.in(common_input(s.stage)), round));
  };
}

/// Codes times activations, and each block's minimum times `sum` of the row of activations and the block.
std::function<Row(const PlainSite&)> minima_times(std::function<double(const Row& x, size_t b)> sum) {
  return [sum](const PlainSite& s) {
    const Row& x = s.in(inputs_of(s.stage)[0]);
    const PlainMatrix w = s.weight();
    const std::vector<PlainBlock> blocks = test::plain_blocks(s.tensor(s.stage, s.layer));
    Row y;
    for (size_t i = 0; i < w.n; ++i) {
      double value = 0;
      for (size_t b = 0; b < w.k / 32; ++b) {
        const PlainBlock& block = blocks[i * w.k / 32 + b];
        for (size_t j = 0; j < 32; ++j) value += block.d * block.code[j] * static_cast<double>(x[32 * b + j]);
        value += block.m * sum(x, b);
      }
      y.push_back(static_cast<float>(value));
    }
    return y;
  };
}

double sum_of(const Row& x, size_t begin, size_t end) {
  return std::accumulate(x.begin() + static_cast<std::ptrdiff_t>(begin),
                         x.begin() + static_cast<std::ptrdiff_t>(end), 0.0);
}

/// Activations in blocks of 32 int8 with one scale.
Row int8_input(const PlainSite& s) {
  Row x = s.in(common_input(s.stage));
  for (size_t begin = 0; begin < x.size(); begin += 32) {
    float largest = 0;
    for (size_t i = begin; i < begin + 32; ++i) largest = std::max(largest, std::abs(x[i]));
    const float d = largest / 127;
    for (size_t i = begin; i < begin + 32; ++i) x[i] = std::nearbyint(x[i] / d) * d;
  }
  return test::times(s.weight(), x);
}

std::vector<NamedCase> weight_cases() {
  using enum Stage;
  constexpr TensorType q4 = TensorType::q4_1, q8 = TensorType::q8_0;
  using B = const PlainBlock*;
  const std::string order = "weight_column_major", nibbles = "nibble_order", scale = "neighbour_scale";
  return {
      {"WqColumnMajor", order, q, 0, with(transposed_reading), "Wq is read column-major", "prefill"},
      {"WkColumnMajorInDecode", order, k, 1, with(transposed_reading), "Wk is read column-major", "decode"},
      {"WdownColumnMajor", order, down, 1, with(transposed_reading), "Wdown", "both", q4},
      {"LogitsColumnMajor", order, logits, -1, with(transposed_reading), "Woutput"},
      {"EmbeddingColumnMajor", order, x_in, 0,
       [](const PlainSite& s) {
         PlainMatrix table = s.weight();
         Row y(table.k);
         const size_t id = static_cast<size_t>(s.run.tokens[static_cast<size_t>(s.position)]);
         for (size_t j = 0; j < table.k; ++j) y[j] = static_cast<float>(table.w[j * table.n + id]);
         return y;
       },
       "the embedding is read column-major"},
      {"RopeRowsOfWq", "rope_row_order", q, 1, with(to_pairs), "rotate-half rows into adjacent pairs",
       "prefill"},
      {"RopeRowsOfWkTwiceOver", "rope_row_order", k, 0, with([](const PlainSite& s, const PlainMatrix& w) {
         return to_pairs(s, to_pairs(s, to_pairs(s, w)));  // of 16 rows: the inverse
       }),
       "adjacent pairs into rotate-half rows"},
      {"WrongLayer", "wrong_layer_weight", down, 1, other_weight(down, 0),
       "Wdown of layer 0 is used in layer 1"},
      {"WrongLayersNorm", "wrong_layer_weight", ffn_norm, 0,
       [](const PlainSite& s) {
         return test::normed(s.in(x_attn), test::plain_matrix(s.tensor(ffn_norm, 1)), s.config().norm_eps);
       },
       "of layer 1 is used in layer 0"},
      {"KForV", "swapped_weight", v, 0, other_weight(k, 0), "Wk is used in the place of Wv", "decode"},
      {"GateForUp", "swapped_weight", up, 1, other_weight(gate, 1), "Wgate is used in the place of Wup"},
      {"NormsSwapped", "swapped_weight", attn_norm, 1,
       [](const PlainSite& s) {
         return test::normed(s.in(x_in), test::plain_matrix(s.tensor(ffn_norm, 1)), s.config().norm_eps);
       },
       "ffn_norm.weight is used in the place of attn_norm.weight"},
      {"NibblesHighFirst", nibbles, down, 0,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].value((i + 16) % 32); }), "high before low",
       "both", q4},
      {"NibblesInterleaved", nibbles, q, 0,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].value(i % 2 == 0 ? i / 2 : 16 + i / 2); }),
       "interleaved", "prefill", q4},
      {"ZeroPointForMinimum", "zero_point", k, 1,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].d * (r[b].code[i] - 8); }),
       "fixed zero point", "decode", q4},
      {"MinimaDropped", "mins_dropped", up, 0,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].d * r[b].code[i]; }), "minima", "both", q4},
      {"NextBlocksScale", scale, down, 0, misread([](B r, size_t n, size_t b, size_t i) {
         return r[std::min(b + 1, n - 1)].d * r[b].code[i] + r[b].m;
       }),
       "next block's scale", "both", q4},
      {"NextBlocksScaleAndMinimum", scale, down, 0, misread([](B r, size_t n, size_t b, size_t i) {
         const PlainBlock& next = r[std::min(b + 1, n - 1)];
         return next.d * r[b].code[i] + next.m;
       }),
       "next block's scale and minimum", "both", q4},
      {"NextBlocksMinimum", scale, gate, 1, misread([](B r, size_t n, size_t b, size_t i) {
         return r[b].d * r[b].code[i] + r[std::min(b + 1, n - 1)].m;
       }),
       "next block's minimum", "both", q4},
      {"ScaleOfTheBlockBefore", scale, down, 1, misread([](B r, size_t, size_t b, size_t i) {
         const PlainBlock& before = r[b == 0 ? 0 : b - 1];
         return before.d * r[b].code[i] + before.m;
       }),
       "block before's scale", "both", q4},
      {"NextBlocksScaleOfQ80", scale, v, 0,
       misread([](B r, size_t n, size_t b, size_t i) { return r[std::min(b + 1, n - 1)].d * r[b].code[i]; }),
       "next block's scale", "both", q8},
      {"MinimaNegated", "mins_misread", down, 1,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].d * r[b].code[i] - r[b].m; }), "wrong sign",
       "decode", q4},
      {"ScalesOfTheNextRow", scale, up, 0, with([](const PlainSite& s, PlainMatrix w) {
         const std::vector<PlainBlock> blocks = test::plain_blocks(s.tensor(up, 0));
         const size_t per_row = w.k / 32;
         for (size_t row = 0; row < w.n; ++row) {
           for (size_t j = 0; j < w.k; ++j) {
             const PlainBlock& own = blocks[row * per_row + j / 32];
             const PlainBlock& next = blocks[std::min(row + 1, w.n - 1) * per_row + j / 32];
             w.at(row, j) = next.d * own.code[j % 32] + own.m;
           }
         }
         return w;
       }),
       "the scales of the next row", "both", q4},
      {"CodesOneTooHigh", "zero_point", v, 0,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].d * (r[b].code[i] + 1); }), "one too high",
       "prefill", q8},
      {"NextWeightInOneLane", "group_stride", gate, 1, with([](const PlainSite&, PlainMatrix w) {
         for (size_t i = 0; i < w.n; ++i) {
           for (size_t j = 1; j < w.k; j += 4) w.at(i, j) = w.at(i, j + 1);
         }
         return w;
       }),
       "the weight of the next k is read from Wgate, for lane 1 of 4 in k"},
      {"OddBlocksCodes", "group_stride", down, 0,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].d * r[b - b % 2].code[i] + r[b].m; }),
       "odd blocks of Wdown", "both", q4},
      {"GroupTermMissing", "group_stride", down, 0,
       misread([](B r, size_t, size_t b, size_t i) { return r[b].d * r[0].code[i] + r[b].m; }),
       "first of its 8", "both", q4},

      {"TailDropped", "reduction_truncated", down, 0, columns_times([](size_t j) { return j < 80; }),
       "leaves out k = 80-95 of 96"},
      {"LaneMissing", "reduction_truncated", q, 1, columns_times([](size_t j) { return j % 8 != 3; }),
       "leaves out lane 3 of 8", "prefill"},
      {"TileCountedTwice", "reduction_truncated", attn_out, 0,
       columns_times([](size_t j) { return j / 16 == 1 ? 2.0 : 1.0; }), "counts twice k = 16-31 of 64",
       "decode"},
      {"OddPanelsLoseABlock", "reduction_truncated", gate, 0, with([](const PlainSite&, PlainMatrix w) {
         for (size_t i = 0; i < w.n; ++i) {
           for (size_t j = 0; j < 16 && i / 16 % 2 == 1; ++j) w.at(i, j) = 0;
         }
         return w;
       }),
       "leaves out k = 0-15 of 64, for elements 16-31 of every 32 of 96", "decode"},
      {"SumOfTheFirstBlock", "block_sums", down, 0,
       minima_times([](const Row& x, size_t) { return sum_of(x, 0, 32); }), "the sum of the first block",
       "both", q4},
      {"SumOfTheBlockBefore", "block_sums", down, 1, minima_times([](const Row& x, size_t b) {
         return sum_of(x, 32 * (b == 0 ? 0 : b - 1), 32 * (b == 0 ? 1 : b));
       }),
       "the block of activations before", "decode", q4},
      {"SumsWithoutALast", "block_sums", down, 0, minima_times([](const Row& x, size_t b) {
         return sum_of(x, 32 * b, 32 * b + 15) + sum_of(x, 32 * b + 16, 32 * b + 31);
       }),
       "the last of each 16 activations", "both", q4},
      {"OneWeight", "weight_element", gate, 0, with([](const PlainSite&, PlainMatrix w) {
         w.at(7, 33) += 0.25;
         return w;
       }),
       "[7][33] is off by 0.25"},
      {"SumInF16", "narrow_accumulator", q, 0, summed_in(as_f16), "f16"},
      {"SumInBf16", "narrow_accumulator", down, 1, summed_in(as_bf16), "bf16", "prefill"},
      {"OutputInF16", "undeclared_rounding", attn_norm, 0,
       [](const PlainSite& s) { return test::mapped(s.right(), as_f16); }, "output is rounded to f16"},
      {"BranchCutToBf16", "undeclared_rounding", x_attn, 0,
       [](const PlainSite& s) {
         return test::zipped(s.in(x_in), s.in(attn_out), [](double a, double b) {
           return a + static_cast<double>(
                          std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(b)) & 0xffff0000u));
         });
       },
       "attn_out is cut to bf16 before x_attn"},
      {"OutputInBf16", "undeclared_rounding", up, 1,
       [](const PlainSite& s) { return test::mapped(s.right(), as_bf16); }, "output is rounded to bf16",
       "decode"},
      {"ScoresInBf16", "undeclared_rounding", softmax, 0,
       [](const PlainSite& s) {
         test::PlainRun own = s.run;
         own.rows[{s.layer, qk}][s.position] = test::mapped(s.in(qk), as_bf16);
         return PlainSite{own, softmax, s.layer, s.position}.right();
       },
       "qk is rounded to bf16 before softmax"},
      {"InputInF16", "undeclared_rounding", q, 0, input_in(as_f16), "activations are in f16"},
      {"InputInBf16", "undeclared_rounding", logits, -1, input_in(as_bf16), "activations are in bf16"},
      {"InputInInt8", "undeclared_rounding", v, 1, int8_input, "activations are in q8_block32"},
  };
}

class WeightMistake : public testing::TestWithParam<NamedCase> {};
TEST_P(WeightMistake, IsNamed) { test::expect_named(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Cases, WeightMistake, testing::ValuesIn(weight_cases()), test::LabelOf());

TEST(WeightMistakes, CoverEveryHypothesis) {
  test::expect_complete(weight_hypotheses(), weight_cases());
  test::expect_complete(sum_hypotheses(), weight_cases());
}

TEST(PlainLlama, IsCleanWithoutMistakes) {
  for (const TensorType type : {TensorType::f32, TensorType::q4_1, TensorType::q8_0}) {
    const Verdict verdict = test::judge_mistakes({}, type);
    EXPECT_EQ(exit_code(verdict.status), 0) << name(type);
    EXPECT_EQ(verdict.coverage.percent(), 100) << name(type);
    for (const Finding& found : verdict.findings) ADD_FAILURE() << test::text_of(found);
  }
}

}  // namespace
}  // namespace greta
