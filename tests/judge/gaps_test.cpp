// Bundles with stages, phases and positions missing: what is there is judged, what is missing is said, and a
// fault in a gap is found at the gap's end.

#include "judge/hypotheses/named.h"
#include "record/matrix.h"

namespace greta {
namespace {

using test::Mistake;
using test::PlainSite;
using test::Row;
using testing::ElementsAre;
using testing::HasSubstr;

using enum Stage;
using Stages = std::vector<Stage>;

bool has(const Stages& stages, const std::string& stage) {
  return std::any_of(stages.begin(), stages.end(), [&](Stage s) { return name(s) == stage; });
}

Bundle without(Bundle bundle, const Stages& stages) {
  std::erase_if(bundle.events, [&](const Event& event) { return has(stages, event.stage); });
  return bundle;
}

/// A projection by W read column-major.
Row column_major(const PlainSite& s) {
  const test::PlainMatrix w = s.weight();
  test::PlainMatrix wrong = w;
  for (size_t i = 0; i < w.n; ++i) {
    for (size_t j = 0; j < w.k; ++j) wrong.at(i, j) = w.w[j * w.n + i];
  }
  return s.times_input(wrong);
}

std::string all_of(const Verdict& verdict) {
  std::string all;
  for (const Finding& f : verdict.findings) all += test::text_of(f) + "\n";
  for (const std::string& skipped : verdict.coverage.skipped) all += "skipped " + skipped + "\n";
  return all;
}

double largest_noise(const Verdict& verdict) {
  double largest = 0;
  for (const StageNoise& noise : verdict.noise) largest = std::max(largest, noise.ratio);
  return largest;
}

/// Stages that recordings of other engines lack, one or many at once.
const std::vector<Stages>& gaps() {
  static const std::vector<Stages> all = {
      {attn_norm},
      {q},
      {k},
      {v},
      {q_rope},
      {k_rope},
      {kv_write},
      {qk},
      {softmax},
      {pv},
      {attn_out},
      {x_attn},
      {ffn_norm},
      {gate},
      {up},
      {act},
      {down},
      {final_norm},
      {q, k},
      {q_rope, qk, softmax},
      {gate, up, act},
      {kv_write, k_rope},
      {q, k, v, q_rope, k_rope, kv_write, qk, softmax, pv},
      {attn_norm, q, k, v, q_rope, k_rope, kv_write, qk, softmax, pv},
  };
  return all;
}

class Gap : public testing::TestWithParam<Stages> {
 protected:
  const test::PlainLlama& llama_ = test::plain_llama();
  Bundle bundle(const std::vector<Mistake>& mistakes) const {
    return without(llama_.record(mistakes, test::two_prompts()), GetParam());
  }
};

INSTANTIATE_TEST_SUITE_P(Stages, Gap, testing::ValuesIn(gaps()), [](const auto& stages) {
  std::string label;
  for (const Stage stage : stages.param) label += std::string(name(stage)) + "_";
  return label + std::to_string(stages.index);
});

TEST_P(Gap, OfACleanRunIsNoFault) {
  const Verdict verdict = judge(bundle({}), llama_.model());
  EXPECT_TRUE(verdict.findings.empty()) << all_of(verdict);
  EXPECT_LE(largest_noise(verdict), 1);
  EXPECT_EQ(verdict.status, RunStatus::equal) << all_of(verdict);
  EXPECT_EQ(verdict.coverage.percent(), 100) << all_of(verdict);
}

TEST_P(Gap, HidesNoFaultBehindIt) {
  // The residual is judged on its own inputs, or over the gap, whatever is missing.
  const auto doubled = [](const PlainSite& s) {
    return test::zipped(s.in(x_attn), s.in(down), [](double a, double b) { return a + 2 * b; });
  };
  const Verdict verdict = judge(bundle({{x_out, 0, doubled, "decode"}}), llama_.model());
  ASSERT_EQ(verdict.findings.size(), 1u) << all_of(verdict);
  EXPECT_EQ(verdict.findings[0].stage, x_out);
  EXPECT_EQ(verdict.findings[0].hypothesis(), "residual_doubled") << all_of(verdict);
}

/// A fault in a stage that was not recorded.
struct Hidden {
  const char* label;
  Stages missing;
  Mistake mistake;
  Stage found_at;
  const char* hypothesis;
  const char* title;
};

std::vector<Hidden> hidden() {
  const Stages attention = {q, k, v, q_rope, k_rope, kv_write, qk, softmax, pv};
  const auto half_base = [](const PlainSite& s) {
    return s.rope({[&](size_t pair) {
      return static_cast<double>(s.position) * std::pow(5e5, -static_cast<double>(pair) / 8);
    }});
  };
  const auto other_eps = [](const PlainSite& s) { return test::normed(s.in(x_in), s.weight(), 1e-3); };
  const auto mod_heads = [](const PlainSite& s) {
    PlainSite::Reading how;
    how.kv_head = [](size_t head) { return head % 2; };
    return s.scores(how);
  };
  // Fused: a running maximum by tiles, and what was mixed before a new one is not scaled down.
  const auto unscaled = [](const PlainSite& s) {
    test::PlainRun own = s.run;
    test::Row& weights = own.rows[{s.layer, softmax}][s.position];
    const size_t n = static_cast<size_t>(s.run.n_pos());
    for (size_t begin = 0; begin < weights.size(); begin += n) {
      const float all = *std::max_element(weights.begin() + static_cast<std::ptrdiff_t>(begin),
                                          weights.begin() + static_cast<std::ptrdiff_t>(begin + n));
      float most = 0;
      for (size_t i = 0; i < n; ++i) {
        most = std::max(most, weights[begin + i]);
        weights[begin + i] = most > 0 ? weights[begin + i] / most * all : 0;
      }
    }
    return PlainSite{own, pv, s.layer, s.position}.right();
  };
  const auto without_first_tile = [](const PlainSite& s) {
    PlainSite::Reading how;
    how.visible = [&s](int64_t p) { return p <= s.position && (p >= 16 || s.position < 16); };
    return s.scores(how);
  };
  return {
      {"FusedNotScaledDown", {qk, softmax}, {pv, 0, unscaled}, pv, "softmax_rescale", "by tiles of 1"},
      {"FusedWithoutTheFirstTile",
       {qk, softmax},
       {qk, 1, without_first_tile},
       pv,
       "kv_length",
       "the first tile of 16 positions is not read"},
      {"Wq", {q}, {q, 0, column_major, "prefill"}, q_rope, "weight_column_major", "Wq is read column-major"},
      {"Wk", {k}, {k, 1, column_major, "decode"}, k_rope, "weight_column_major", "Wk is read column-major"},
      {"Wv", {v}, {v, 0, column_major}, kv_write, "weight_column_major", "Wv is read column-major"},
      {"WqSeenInPv", {q, q_rope, qk, softmax}, {q, 0, column_major}, pv, "weight_column_major", "Wq"},
      {"HeadMapSeenInSoftmax", {qk}, {qk, 1, mod_heads}, softmax, "head_map", "h mod n_kv"},
      {"RopeSeenInScores", {q_rope}, {q_rope, 0, half_base, "prefill"}, qk, "rope_base", "500000"},
      {"KeysSeenInTheCache", {k_rope}, {k_rope, 1, half_base}, kv_write, "rope_base", "500000"},
      {"WupSeenInAct", {gate, up}, {up, 1, column_major, "decode"}, act, "weight_column_major", "Wup"},
      {"WdownSeenInXOut", {down}, {down, 0, column_major}, x_out, "weight_column_major", "Wdown"},
      {"WoOverAllOfAttention", attention, {attn_out, 0, column_major}, attn_out, "weight_column_major", "Wo"},
      {"WvOverAllOfAttention",
       attention,
       {v, 0, column_major, "prefill"},
       attn_out,
       "weight_column_major",
       "Wv"},
      {"NormOfQkv", {attn_norm}, {attn_norm, 0, other_eps}, q, "norm_eps", "is 0.001"},
  };
}

TEST(Gaps, AFaultInOneIsFoundAtItsEndAndNamed) {
  const test::PlainLlama& llama = test::plain_llama();
  for (const Hidden& h : hidden()) {
    const Verdict verdict =
        judge(without(llama.record({h.mistake}, test::two_prompts()), h.missing), llama.model());
    ASSERT_FALSE(verdict.findings.empty()) << h.label << "\n" << all_of(verdict);
    const Finding& found = verdict.findings[0];
    EXPECT_EQ(found.stage, h.found_at) << h.label << "\n" << all_of(verdict);
    EXPECT_EQ(found.layer, h.mistake.layer) << h.label;
    EXPECT_EQ(name(found.phase), h.mistake.phase) << h.label;
    EXPECT_EQ(found.hypothesis(), h.hypothesis) << h.label << "\n" << all_of(verdict);
    EXPECT_THAT(found.title.en, HasSubstr(h.title)) << h.label;
    const bool at_the_stage = h.found_at == h.mistake.stage;
    EXPECT_EQ(std::count(found.gap.begin(), found.gap.end(), h.mistake.stage), at_the_stage ? 0 : 1)
        << h.label;
    for (const Stage stage : found.gap)
      EXPECT_EQ(std::count(h.missing.begin(), h.missing.end(), stage), 1) << h.label << " " << name(stage);
  }
}

TEST(Gaps, OfTheEnginesOwnRoundingsAreNoFault) {
  for (const TensorType type : {TensorType::f32, TensorType::q4_1, TensorType::q8_0}) {
    test::TinyEngine tiny(type);
    MatrixRequest request;
    request.experiments = parse_experiments("E0");
    request.prompts = {{"many", "", test::random_tokens(21)}};
    request.layers = {0, 1};
    const Bundle whole = record_matrix(tiny.engine, request);
    for (const Stages& gap : gaps()) {
      const Verdict verdict = judge(without(whole, gap), tiny.engine.model(), {.causes = Causes::none});
      EXPECT_TRUE(verdict.findings.empty()) << name(type) << " without " << name(gap[0]) << ", ...\n"
                                            << all_of(verdict);
    }
  }
}

TEST(Gaps, OnePhaseAloneIsJudged) {
  const test::PlainLlama& llama = test::plain_llama();
  const Bundle clean = llama.record({}, test::two_prompts());
  const Bundle faulty = llama.record({{q, 1, column_major}}, test::two_prompts());
  for (const std::string only : {kPrefill, kPrefillLast, kDecode0}) {
    const auto one_phase = [&](Bundle bundle) {
      std::erase_if(bundle.events, [&](const Event& event) { return event.phase != only; });
      return judge(bundle, llama.model());
    };
    const Verdict right = one_phase(clean), wrong = one_phase(faulty);
    EXPECT_TRUE(right.findings.empty()) << only << "\n" << all_of(right);
    EXPECT_GT(right.coverage.judged, 0) << only;
    EXPECT_LE(largest_noise(right), 1) << only;
    ASSERT_EQ(wrong.findings.size(), 1u) << only << "\n" << all_of(wrong);
    EXPECT_EQ(wrong.findings[0].hypothesis(), "weight_column_major") << only;
    EXPECT_EQ(name(wrong.findings[0].phase), only == kDecode0 ? "decode" : "prefill");
  }
}

/// Rows of an event at `wanted` positions only.
Bundle with_rows(const Bundle& bundle, const std::function<bool(Stage, int64_t)>& wanted) {
  Bundle some;
  some.manifest = bundle.manifest;
  for (Event event : bundle.events) {
    const std::vector<int64_t> all = positions_of(event);
    const std::vector<float>& data = *bundle.data(event);
    const size_t width = data.size() / all.size();
    std::vector<int64_t> positions;
    std::vector<float> rows;
    for (size_t i = 0; i < all.size(); ++i) {
      if (!wanted(stage_from_name(event.stage).value(), all[i])) continue;
      positions.push_back(all[i]);
      const auto begin = data.begin() + static_cast<std::ptrdiff_t>(i * width);
      rows.insert(rows.end(), begin, begin + static_cast<std::ptrdiff_t>(width));
    }
    if (positions.empty()) continue;
    event.positions = positions.size() == 2 ? packed_positions(positions) : positions;
    if (positions.size() == 2 && event.positions[1] - event.positions[0] != 1)
      continue;  // two read as a range
    event.shape[0] = std::ssize(positions);
    some.add(std::move(event), rows);
  }
  return some;
}

TEST(Gaps, PositionsMayBeMissing) {
  const test::PlainLlama& llama = test::plain_llama();
  const auto some = [](Stage stage, int64_t position) {
    return stage == kv_write || position % 3 != 1 || position == 20;
  };
  const Verdict right = judge(with_rows(llama.record({}, test::two_prompts()), some), llama.model());
  EXPECT_TRUE(right.findings.empty()) << all_of(right);
  EXPECT_LE(largest_noise(right), 1);
  const Verdict wrong =
      judge(with_rows(llama.record({{k, 0, column_major}}, test::two_prompts()), some), llama.model());
  ASSERT_EQ(wrong.findings.size(), 1u) << all_of(wrong);
  EXPECT_EQ(wrong.findings[0].hypothesis(), "weight_column_major");
  EXPECT_EQ(wrong.findings[0].stage, k);
}

TEST(Gaps, OfTheCacheBehindMissingRowsAreSaidNotGuessed) {
  const test::PlainLlama& llama = test::plain_llama();
  const Bundle last_row = with_rows(llama.record({}, test::two_prompts()), [](Stage stage, int64_t position) {
    return stage != kv_write && position >= 8;
  });
  const Verdict verdict = judge(last_row, llama.model());
  EXPECT_TRUE(verdict.findings.empty()) << all_of(verdict);
  EXPECT_EQ(verdict.status, RunStatus::inconclusive);
  EXPECT_THAT(verdict.coverage.skipped, testing::Contains(HasSubstr("missing")));
}

}  // namespace
}  // namespace greta
