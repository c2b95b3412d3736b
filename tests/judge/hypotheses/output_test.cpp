// Right values scaled, clipped, lost, damaged, or made from the wrong rows: each must be named. What nobody
// has a name for must not get one.

#include "judge/hypotheses/named.h"

namespace greta {
namespace {

using test::Mistake;
using test::NamedCase;
using test::PlainSite;
using test::Row;

using enum Stage;

std::function<Row(const PlainSite&)> then(std::function<double(double)> f) {
  return [f](const PlainSite& s) { return test::mapped(s.right(), f); };
}

/// The right row with elements replaced.
std::function<Row(const PlainSite&)> spoilt(std::function<void(Row& y)> spoil) {
  return [spoil](const PlainSite& s) {
    Row y = s.right();
    spoil(y);
    return y;
  };
}

/// The stage at the next, the previous or the first row, in the place of this one.
Row of_row_before(const PlainSite& s) {
  return PlainSite{s.run, s.stage, s.layer, std::max(s.position - 1, s.run.first)}.right();
}
Row of_next_row(const PlainSite& s) {
  return PlainSite{s.run, s.stage, s.layer, std::min(s.position + 1, s.run.n_pos() - 1)}.right();
}
Row of_first_row(const PlainSite& s) { return PlainSite{s.run, s.stage, s.layer, s.run.first}.right(); }

std::function<Row(const PlainSite&)> embedding_of(std::function<int64_t(const PlainSite&)> id) {
  return [id](const PlainSite& s) {
    const test::PlainMatrix table = s.weight();
    const auto begin = table.w.begin() + id(s) * static_cast<int64_t>(table.k);
    return Row(begin, begin + static_cast<int64_t>(table.k));
  };
}

int64_t token(const PlainSite& s, int64_t position) { return s.run.tokens[static_cast<size_t>(position)]; }

std::vector<NamedCase> output_cases() {
  const std::string input = "wrong_input", row = "wrong_row", shift = "token_shift";
  return {
      {"Scaled", "output_scaled", attn_out, 0, then([](double y) { return 0.7071 * y; }),
       "multiplied by 0.7071"},
      {"LogitsScaled", "output_scaled", logits, -1, then([](double y) { return 0.125 * y; }),
       "multiplied by 0.125"},
      {"EmbeddingScaled", "output_scaled", x_in, 0, then([](double y) { return 8 * y; }),
       "x_in is multiplied by 8", "prefill"},
      {"Clipped", "saturation", gate, 1, then([](double y) { return std::clamp(y, -1.5, 1.5); }),
       "clipped at +-1.5"},
      {"Offset", "constant_offset", q, 0, spoilt([](Row& y) {
         for (size_t i = 0; i < y.size(); ++i) y[i] += 0.1f * std::sin(static_cast<float>(i));
       }),
       "a bias that is not in the file"},
      {"LayerBeforesOutput", "stale_output", down, 1,
       [](const PlainSite& s) {
         return PlainSite{s.run, down, 0, s.position}.in(down);
       },
       "what layer 0 left"},
      {"RunBeforesOutput", "stale_output", v, 0,
       [](const PlainSite& s) {
         return s.run.before->rows.at({1, v}).at(s.position);
       },
       "what the run before left", "decode"},
      {"Zero", "output_zero", pv, 1, then([](double) { return 0.0; }), "never written", "prefill"},
      {"NaN", "non_finite", up, 0, spoilt([](Row& y) { y[5] = NAN; }), "position 0, element 5"},
      {"Infinity", "non_finite", x_attn, 1,
       [](const PlainSite& s) {
         Row y = s.right();
         if (s.position >= 7) y[63] = INFINITY;
         return y;
       },
       "position 7, element 63", "prefill"},
      {"SomeElements", "corrupted_elements", q, 1, spoilt([](Row& y) {
         for (size_t i = 3; i < y.size(); i += 16) y[i] = y[i] * y[i] - 0.5f;
       }),
       "4 of 64 elements of q are wrong and the rest right: one in 16 from 3"},
      // The residual's value, as a limit may be: one number has many names.
      {"OneElementOfOneRow", "corrupted_elements", x_attn, 1,
       [](const PlainSite& s) {
         Row y = s.right();
         if (s.position == 15) y[7] = s.in(x_in)[7];  // of the longer prompt alone
         return y;
       },
       "1 of 64 elements of x_attn are wrong and the rest right: 7", "prefill"},

      {"PairsExchanged", "output_moved", k, 1, spoilt([](Row& y) {
         for (size_t i = 0; i < y.size(); i += 2) std::swap(y[i], y[i + 1]);
       }),
       "elements 2i and 2i + 1 of k are exchanged"},
      {"ElementsShifted", "output_moved", up, 0,
       spoilt([](Row& y) { std::move_backward(y.begin(), y.end() - 2, y.end()); }),
       "what belongs in element j -2", "decode"},
      {"HeadOneIsHeadZero", "output_moved", q_rope, 1,
       spoilt([](Row& y) { std::copy_n(y.begin(), 16, y.begin() + 16); }), "head 1 of q_rope holds head 0's"},
      {"ValueHeadsExchanged", "output_moved", kv_write, 0,
       spoilt([](Row& y) { std::swap_ranges(y.begin() + 32, y.begin() + 48, y.begin() + 48); }),
       "head 0 (values) of kv_write holds head 1 (values)'s"},
      {"LastSixteenNotWritten", "output_zero", down, 1,
       spoilt([](Row& y) { std::fill(y.end() - 16, y.end(), 0.0f); }),
       "never written, or made of what was not, for elements 48-63 of 64"},
      {"HeadsNotExchangedWithRows", "operand_order", attn_out, 0,
       [](const PlainSite& s) {
         const int64_t rows = s.run.n_pos() - s.run.first;
         Row x;
         for (int64_t head = 0; head < 4; ++head) {
           const int64_t place = (s.position - s.run.first) * 4 + head;
           const Row& from = s.in(pv, s.run.first + place % rows);
           x.insert(x.end(), from.begin() + place / rows * 16, from.begin() + place / rows * 16 + 16);
         }
         return test::times(s.weight(), x);
       },
       "rows and heads are not exchanged", "prefill"},
      {"NextHeads", "operand_order", attn_out, 1,
       [](const PlainSite& s) {
         Row x = s.in(pv);
         std::rotate(x.begin(), x.begin() + 16, x.end());
         return test::times(s.weight(), x);
       },
       "each head's place takes the next head"},
      {"FfnWithoutAttention", input, x_out, 1,
       [](const PlainSite& s) {
         return test::zipped(s.in(x_in), s.in(down), [](double a, double b) { return a + b; });
       },
       "x_out is computed from x_in, not from x_attn"},
      {"BranchOfTheLayerBefore", input, x_attn, 1,
       [](const PlainSite& s) {
         const Row& before = s.run.rows.at({0, attn_out}).at(s.position);
         return test::zipped(s.in(x_in), before, [](double a, double b) { return a + b; });
       },
       "x_attn is computed from attn_out of layer 0"},
      {"UpTwice", input, act, 0,
       [](const PlainSite& s) {
         return test::zipped(s.in(up), s.in(up), [](double g, double u) { return test::silu(g) * u; });
       },
       "act is computed from up, not from gate", "decode"},
      {"BranchOfTheRowBefore", row, x_attn, 0,
       [](const PlainSite& s) {
         return test::zipped(s.in(x_in), s.in(attn_out, std::max<int64_t>(s.position - 1, 0)),
                             [](double a, double b) { return a + b; });
       },
       "the row before's attn_out", "prefill"},
      {"UpFromXAttn", input, up, 0, [](const PlainSite& s) { return test::times(s.weight(), s.in(x_attn)); },
       "up is computed from x_attn, not from ffn_norm"},
      {"QFromXIn", input, q, 1, [](const PlainSite& s) { return test::times(s.weight(), s.in(x_in)); },
       "q is computed from x_in, not from attn_norm", "decode"},
      {"FfnNormOfXIn", input, ffn_norm, 1,
       [](const PlainSite& s) { return test::normed(s.in(x_in), s.weight(), s.config().norm_eps); },
       "ffn_norm is computed from x_in, not from x_attn"},
      {"LogitsWithoutTheFinalNorm", input, logits, -1,
       [](const PlainSite& s) { return test::times(s.weight(), s.in(x_out)); },
       "logits is computed from x_out, not from final_norm"},
      {"RowBefore", row, k, 0, of_row_before, "the row before's input", "prefill"},
      {"NextRow", row, gate, 1, of_next_row, "the next row's input", "prefill"},
      {"FirstRow", row, attn_norm, 0, of_first_row, "the first row's input", "prefill"},
      {"NextToken", shift, x_in, 0,
       embedding_of([](const PlainSite& s) { return std::min<int64_t>(token(s, s.position) + 1, 79); }),
       "token id +1"},
      {"IdLessOne", shift, x_in, 0,
       embedding_of([](const PlainSite& s) { return std::max<int64_t>(token(s, s.position) - 1, 0); }),
       "token id -1", "decode"},
      {"TokenBefore", shift, x_in, 0,
       embedding_of([](const PlainSite& s) { return token(s, std::max<int64_t>(s.position - 1, 0)); }),
       "the token before", "decode"},
      {"IdOfThreeBits", "token_read", x_in, 0,
       embedding_of([](const PlainSite& s) { return token(s, s.position) & 7; }), "another token's row"},
  };
}

class OutputMistake : public testing::TestWithParam<NamedCase> {};
TEST_P(OutputMistake, IsNamed) { test::expect_named(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Cases, OutputMistake, testing::ValuesIn(output_cases()), test::LabelOf());

TEST(OutputMistakes, CoverEveryHypothesis) {
  test::expect_complete(output_hypotheses(), output_cases());
  test::expect_complete(input_hypotheses(), output_cases());
}

/// A mistake that no hypothesis knows.
struct Unknown {
  const char* label;
  Stage stage;
  int layer;
  std::function<Row(const PlainSite&)> wrong;
};

std::vector<Unknown> unknown() {
  return {{"WaveInOddPanels", up, 0, spoilt([](Row& y) {
             for (size_t i = 0; i < y.size(); ++i)
               y[i] += i / 16 % 2 == 1 ? 0.3f * std::sin(40 * y[i]) : 0.0f;
           })},
          {"HalfAPositionOff", q_rope, 1,
           [](const PlainSite& s) {
             const double p = static_cast<double>(s.position) + (s.position % 2 == 1 ? 0.37 : 0.59);
             return s.rope({[&](size_t pair) {
               return p * std::pow(s.config().rope_base, -static_cast<double>(pair) / 8);
             }});
           }},
          {"PairsExchangedAndDamaged", k, 0, spoilt([](Row& y) {
             for (size_t i = 0; i < y.size(); i += 2) std::swap(y[i], y[i + 1]);
             for (size_t i = 0; i < y.size(); i += 5) y[i] += 0.25f;
           })},
          {"WaveOverX", attn_out, 0, spoilt([](Row& y) {
             for (float& value : y) value += 0.2f * std::sin(40 * value);
           })},
          {"ElementsTimesTheirNeighbours", down, 1, spoilt([](Row& y) {
             for (size_t i = 0; i + 1 < y.size(); ++i) y[i] *= 1 + 0.3f * y[i + 1];
           })},
          {"RowsReversedWithinSigns", q, 0, spoilt([](Row& y) {
             std::reverse(y.begin(), y.end());
             for (size_t i = 0; i < y.size(); i += 3) y[i] = -y[i];
           })},
          {"SoftmaxSquared", softmax, 1, spoilt([](Row& y) {
             for (float& value : y) value = value * value + 0.01f * std::sqrt(value);
           })},
          {"NormByItsThirdMoment", ffn_norm, 0,
           [](const PlainSite& s) {
             double cube = 0;
             for (const float x : s.in(x_attn)) cube += std::pow(std::abs(static_cast<double>(x)), 3);
             const double r = 1 / std::cbrt(cube / 64);
             const test::PlainMatrix w = s.weight();
             Row y = s.in(x_attn);
             for (size_t i = 0; i < y.size(); ++i)
               y[i] = static_cast<float>(static_cast<double>(y[i]) * r * w.w[i]);
             return y;
           }},
          {"KeysHashed", kv_write, 0, spoilt([](Row& y) {
             for (size_t i = 0; i < y.size(); ++i) y[i] += i % 2 == 0 ? 0.25f * y[i / 2] : -0.125f;
           })}};
}

TEST(UnknownMistakes, GetNoName) {
  for (const Unknown& u : unknown()) {
    for (const std::string phase : {"prefill", "decode", "both"}) {
      const Verdict verdict = test::judge_mistakes({{u.stage, u.layer, u.wrong, phase}});
      std::string all;
      for (const Finding& f : verdict.findings) all += test::text_of(f) + "\n";
      ASSERT_EQ(verdict.findings.size(), 1u) << u.label << ":\n" << all;
      const Finding& found = verdict.findings[0];
      EXPECT_EQ(found.hypothesis(), "unexplained") << u.label << ": " << test::text_of(found);
      EXPECT_EQ(found.stage, u.stage) << u.label;
      EXPECT_EQ(found.layer, u.layer) << u.label;
      EXPECT_EQ(name(found.phase), phase) << u.label;
      EXPECT_THAT(found.title.en, testing::HasSubstr("not explained by rounding")) << u.label;
    }
  }
}

}  // namespace
}  // namespace greta
