// Where a fault is, in words: positions, heads, elements; and faults that act under a condition only.

#include "judge/residual_pattern.h"

#include <rapidcheck/gtest.h>

#include "judge/hypotheses/named.h"

namespace greta {
namespace {

using test::Mistake;
using test::PlainSite;
using test::Row;
using testing::HasSubstr;

using enum Stage;

std::set<int64_t> every(int64_t step, int64_t from, int64_t end) {
  std::set<int64_t> indices;
  for (int64_t i = from; i < end; i += step) indices.insert(i);
  return indices;
}

TEST(IndexPattern, SaysRunsStridesAndLists) {
  EXPECT_EQ(index_pattern({}, Language::english), "-");
  EXPECT_EQ(index_pattern({7}, Language::english), "7");
  EXPECT_EQ(index_pattern({4, 5}, Language::english), "4-5");
  EXPECT_EQ(index_pattern(every(1, 16, 32), Language::english), "16-31");
  EXPECT_EQ(index_pattern({3, 9}, Language::english), "3, 9");
  EXPECT_EQ(index_pattern(every(16, 3, 64), Language::english), "one in 16 from 3");
  EXPECT_EQ(index_pattern(every(16, 3, 64), Language::spanish), "uno de cada 16 desde 3");
  EXPECT_EQ(index_pattern({1, 2, 4, 8, 16, 32}, Language::english), "1, 2, 4, 8, 16, 32");
  EXPECT_EQ(index_pattern({1, 2, 4, 8, 16, 32, 64}, Language::spanish), "1, 2, 4, 8, 16, 32, ...");
}

RC_GTEST_PROP(IndexPattern, BeginsWithTheFirstIndexOrNamesIt, (const std::set<uint16_t>& some)) {
  RC_PRE(!some.empty());
  const std::string first = std::to_string(*some.begin());
  for (const Language language : {Language::english, Language::spanish}) {
    const std::string text = index_pattern({some.begin(), some.end()}, language);
    RC_ASSERT(text.starts_with(first) || text.ends_with(" " + first));
    RC_ASSERT(text.size() < 60u);
  }
}

/// The stage's own mistake where the condition holds, else the right row.
std::function<Row(const PlainSite&)> if_at(std::function<bool(const PlainSite&)> condition,
                                           std::function<Row(const PlainSite&)> wrong) {
  return [=](const PlainSite& s) { return condition(s) ? wrong(s) : s.right(); };
}

/// Heads of a row from `first` on are wrong.
std::function<Row(const PlainSite&)> heads_from(size_t first, std::function<Row(const PlainSite&)> wrong) {
  return [=](const PlainSite& s) {
    Row y = s.right();
    const Row other = wrong(s);
    const size_t begin = first * y.size() / 4;
    std::copy(other.begin() + static_cast<std::ptrdiff_t>(begin), other.end(),
              y.begin() + static_cast<std::ptrdiff_t>(begin));
    return y;
  };
}

Row backwards(const PlainSite& s) {
  return s.rope({[&](size_t pair) { return -s.angle(pair); }});
}

Row head_zero(const PlainSite& s) {
  PlainSite::Reading how;
  how.kv_head = [](size_t) { return size_t{0}; };
  return s.stage == qk ? s.scores(how) : s.values(how);
}

Row other_eps(const PlainSite& s) { return test::normed(s.in(x_in), s.weight(), 1e-3); }

Row columns(const PlainSite& s) {
  const test::PlainMatrix w = s.weight();
  test::PlainMatrix wrong = w;
  for (size_t i = 0; i < w.n; ++i) {
    for (size_t j = 0; j < w.k; ++j) wrong.at(i, j) = w.w[j * w.n + i];
  }
  return s.times_input(wrong);
}

struct Conditional {
  const char* label;
  Mistake mistake;
  const char* hypothesis;
  const char* pattern;
  const char* pattern_es;
};

TEST(Conditions, OfAFaultAreInItsPattern) {
  const auto late = [](const PlainSite& s) { return s.position >= 8; };
  const std::vector<Conditional> all = {
      {"RopeFrom8",
       {q_rope, 0, if_at(late, backwards), "prefill"},
       "rope_inverse",
       "positions 8-20",
       "posiciones 8-20"},
      {"EpsFrom8",
       {attn_norm, 0, if_at(late, other_eps), "prefill"},
       "norm_eps",
       "positions 8-20",
       "posiciones 8-20"},
      {"WqFrom8",
       {q, 1, if_at(late, columns), "prefill"},
       "weight_column_major",
       "positions 8-20",
       "posiciones 8-20"},
      {"RopeHeadsFrom2",
       {q_rope, 1, heads_from(2, backwards)},
       "rope_inverse",
       "heads 2-3 of 4",
       "cabezas 2-3 de 4"},
      // Heads 0 and 1 read KV head 0 rightly.
      {"HeadMap", {qk, 0, head_zero}, "head_map", "heads 2-3 of 4", "cabezas 2-3 de 4"},
      {"LastHeadsValues",
       {pv, 1, heads_from(3, head_zero), "decode"},
       "head_map",
       "heads 3 of 4",
       "cabezas 3 de 4"},
  };
  for (const Conditional& c : all) {
    const Verdict verdict = test::judge_mistakes({c.mistake});
    ASSERT_EQ(verdict.findings.size(), 1u) << c.label;
    const Finding& found = verdict.findings[0];
    EXPECT_EQ(found.hypothesis(), c.hypothesis) << c.label << ": " << test::text_of(found);
    EXPECT_EQ(name(found.phase), c.mistake.phase) << c.label;
    EXPECT_THAT(found.pattern.en, HasSubstr(c.pattern)) << c.label;
    EXPECT_THAT(found.pattern.es, HasSubstr(c.pattern_es)) << c.label;
  }
}

TEST(Conditions, OfAnUnexplainedFaultAreItsDescription) {
  const auto odd = [](const PlainSite& s) {
    Row y = s.right();
    for (size_t i = 5; i < y.size(); i += 12) y[i] = std::sin(17 * y[i]);
    return y;
  };
  const Verdict verdict = test::judge_mistakes(
      {{ffn_norm, 1, if_at([](const PlainSite& s) { return s.position % 4 == 1; }, odd), "prefill"}});
  ASSERT_EQ(verdict.findings.size(), 1u);
  EXPECT_THAT(verdict.findings[0].pattern.en, HasSubstr("positions one in 4 from 1"));
  EXPECT_THAT(verdict.findings[0].pattern.en, HasSubstr("5 of 64 elements of a row: one in 12 from 5"));
}

TEST(Conditions, AWrongRowAllOverHasNoPattern) {
  const Verdict verdict = test::judge_mistakes({{q, 0, columns}});
  ASSERT_EQ(verdict.findings.size(), 1u);
  EXPECT_EQ(verdict.findings[0].pattern.en, "");
}

TEST(Conditions, NotFiniteValuesAreCountedAndPlaced) {
  const auto nan = [](const PlainSite& s) {
    Row y = s.right();
    if (s.position == 9) y[3] = y[30] = NAN;
    return y;
  };
  const Verdict verdict = test::judge_mistakes({{v, 0, nan, "prefill"}});
  ASSERT_EQ(verdict.findings.size(), 1u) << "what is made from NaN is right";
  EXPECT_EQ(verdict.findings[0].hypothesis(), "non_finite");
  EXPECT_THAT(verdict.findings[0].pattern.en,
              HasSubstr("4 values are NaN or infinite, the first at position 9, element 3"));
}

}  // namespace
}  // namespace greta
