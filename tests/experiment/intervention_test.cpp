// The oracle in the place of an op, in a live run: on a clean engine it changes nothing but roundings, in the
// place of a faulty op it takes the fault away.

#include "experiment/intervention.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <set>

#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

using enum Stage;

struct Setting {
  TensorType type = TensorType::f32;
  Format kv = Format::f32;
  int threads = 1;
  int64_t block = kPrefillBlock;
};

MatrixRequest request_of(const Setting& setting) {
  MatrixRequest request;
  request.experiments = parse_experiments("E0");
  request.prompts = {{"many", "", test::random_tokens(21)}};
  request.layers = {0, 1};
  request.prefill_block = setting.block;
  return request;
}

/// Every stage that a plan computes.
std::vector<InterventionSite> all_sites() {
  std::vector<InterventionSite> sites;
  for (const Phases phase : {Phases::prefill, Phases::decode}) {
    for (int i = 0; i < kStageCount; ++i) {
      const Stage stage = static_cast<Stage>(i);
      if (few_have(stage)) continue;  // a llama has none
      sites.push_back({phase, is_outside_layers(stage) ? kNoLayer : stage == x_in ? 0 : 1, stage});
    }
  }
  return sites;
}

const std::vector<float>& data_of(const Bundle& bundle, const std::string& phase, Stage stage, int layer) {
  for (const Event& event : bundle.events) {
    if (event.phase == phase && event.stage == name(stage) && event.layer == layer)
      return *bundle.data(event);
  }
  throw std::runtime_error("not recorded");
}

double noise_at(const Verdict& verdict, const InterventionSite& site) {
  for (const StageNoise& noise : verdict.noise) {
    if (concerns(site.phase, noise.phase) && noise.stage == site.stage && noise.layer == site.layer)
      return noise.ratio;
  }
  return NAN;
}

/// |a - b| / |a|, L2.
double apart(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
  return std::sqrt(difference / size);
}

TEST(Intervention, OnACleanEngineChangesNothingButRoundings) {
  for (const Setting& setting :
       {Setting{TensorType::f32}, Setting{TensorType::q4_1, Format::f16},
        Setting{TensorType::q4_k, Format::q8_0}, Setting{TensorType::q8_0, Format::f32, 2, 8}}) {
    test::TinyEngine tiny(setting.type, {setting.threads, best_isa(), setting.kv});
    MatrixRequest request = request_of(setting);
    const Bundle clean = record_matrix(tiny.engine, request);
    for (const InterventionSite& site : all_sites()) {
      request.change = interventions(tiny.engine, {site});
      const Bundle bundle = record_matrix(tiny.engine, request);
      const Verdict verdict = judge(bundle, tiny.engine.model(), {.causes = Causes::none});
      const std::string at = fmt::format("{} of {} in L{}, {}", name(site.stage), name(site.phase),
                                         site.layer, name(setting.type));
      EXPECT_TRUE(verdict.findings.empty())
          << at << ": " << (verdict.findings.empty() ? "" : verdict.findings[0].title.en);
      // One rounding of the exact value:
      // all that a residual's addition may have, less than half of the others'.
      EXPECT_LE(noise_at(verdict, site), site.stage == x_attn || site.stage == x_out ? 1 : 0.5) << at;
      if (setting.type != TensorType::f32) continue;  // int8 activations may turn at a tie
      for (const char* phase : {kPrefillLast, kDecode0}) {
        EXPECT_LE(apart(data_of(clean, phase, logits, kNoLayer), data_of(bundle, phase, logits, kNoLayer)),
                  1e-5)
            << at << ": f32 roundings of two layers";
      }
    }
  }
}

/// One row's outputs are shared by the threads; a bias, and rows of their own, are not.
TEST(Intervention, HasTheSameBitsByAnyNumberOfThreads) {
  for (const TensorType type : {TensorType::q4_1, TensorType::bf16}) {
    std::vector<std::vector<float>> rows;
    for (const int threads : {1, 2, 5}) {
      test::TinyEngine tiny(type, {threads, best_isa(), Format::f32});
      MatrixRequest request = request_of({});
      request.change = interventions(tiny.engine, all_sites());
      const Bundle bundle = record_matrix(tiny.engine, request);
      rows.push_back(data_of(bundle, kDecode0, logits, kNoLayer));
      for (const Stage stage : {q, attn_out, gate, down}) {
        const std::vector<float>& row = data_of(bundle, kDecode0, stage, 1);
        rows.back().insert(rows.back().end(), row.begin(), row.end());
      }
    }
    EXPECT_EQ(rows[1], rows[0]) << name(type);
    EXPECT_EQ(rows[2], rows[0]) << name(type);
  }
}

/// Puts the oracle in the place of all that is found, and of what NaN hid behind it. True if anything was.
bool mend(test::TinyEngine& tiny, MatrixRequest request, const std::string& fault) {
  const PlanChange faulty = request.change;
  Verdict verdict;
  std::vector<InterventionSite> sites;
  for (int round = 0; round < 3; ++round) {
    verdict = judge(record_matrix(tiny.engine, request), tiny.engine.model(), {.causes = Causes::none});
    for (const Finding& found : verdict.findings) sites.push_back({found.phase, found.layer, found.stage});
    request.change = then(faulty, interventions(tiny.engine, sites));
    if (verdict.findings.empty()) break;
  }
  for (const Finding& found : verdict.findings)
    ADD_FAILURE() << fault << ", blocks of " << request.prefill_block << ": " << found.title.en;
  return !sites.empty();
}

TEST(Intervention, TakesEveryFaultAway) {
  test::TinyEngine tiny(TensorType::q4_1);
  for (const Fault& fault : faults()) {
    if (!fault.make || fault.needs == Needs::matrix_unit || !suits(fault, tiny.engine.model())) continue;
    const bool cached = fault.stage >= kv_write && fault.stage <= pv;
    bool shown = false;
    for (const std::string phase : {"prefill", "decode"}) {
      for (const int64_t block : {kPrefillBlock, int64_t{8}}) {
        if (block == 8 && !cached) continue;
        MatrixRequest request = request_of({});
        request.prefill_block = block;
        const std::string text = fault.name + "@" + phase;
        request.change = fault_change(tiny.engine, {parse_fault(text, 2)});
        shown = mend(tiny, request, text) || shown;
      }
    }
    EXPECT_TRUE(shown) << fault.name;
  }
}

TEST(Intervention, OfAnotherPhaseOrLayerLeavesTheFault) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of({});
  const PlanChange fault = fault_change(tiny.engine, {parse_fault("wk_column_major@prefill:0", 2)});
  for (const InterventionSite& site :
       {InterventionSite{Phases::decode, 0, k}, InterventionSite{Phases::prefill, 1, k},
        InterventionSite{Phases::prefill, 0, q}}) {
    request.change = then(fault, interventions(tiny.engine, {site}));
    const Verdict verdict =
        judge(record_matrix(tiny.engine, request), tiny.engine.model(), {.causes = Causes::none});
    ASSERT_EQ(verdict.findings.size(), 1u);
    EXPECT_EQ(verdict.findings[0].stage, k);
  }
}

TEST(Intervention, WhereThePlanLacksAnOperandThereIsNone) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of({});
  const PlanChange without = {.edit = [](PlanEdit& edit) {
    edit.keep_only([](const Op& op) { return op.made() != At{1, k_rope}; });
  }};
  const auto caches = [&](const PlanChange& change) {
    request.change = change;
    return data_of(record_matrix(tiny.engine, request), kDecode0, kv_write, 1);
  };
  EXPECT_EQ(caches(then(without, interventions(tiny.engine, {{Phases::both, 1, kv_write}}))),
            caches(without));
}

}  // namespace
}  // namespace greta
